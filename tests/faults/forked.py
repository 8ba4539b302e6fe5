"""Processes for fault tests, each forked from one that has imported everything, so that a run costs less than a second.

In: requests, one JSON document a line: a function of `tests.faults.children` to call, or a child to wait for. Out: pids and
exit statuses. A child ends as any Python process does, with all its threads.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests.faults import children

HUNG = 60.0
"""Seconds after which a child that is waited for is killed."""


def serve() -> None:
    """Answer requests until there are no more, and leave no child behind."""
    unfinished: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = {"status": _wait(request["wait"])}
            unfinished.remove(request["wait"])
        else:
            answer = {"pid": _fork(request)}
            unfinished.add(answer["pid"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in unfinished:
        os.kill(pid, signal.SIGKILL)


def _fork(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    folder = Path(request["folder"])
    for number, name in ((0, os.devnull), (1, folder / "stdout"), (2, folder / "stderr")):
        os.dup2(os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    getattr(children, request["call"])(*request["arguments"])
    raise SystemExit(0)


def _wait(pid: int) -> int:
    """Exit status, negative for the signal that ended it."""
    give_up = time.monotonic() + HUNG
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > give_up:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


if __name__ == "__main__":
    children.prepare()
    serve()
