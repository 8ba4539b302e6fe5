"""A deployment of the small dataset whose commands run in processes of their own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count, product
from pathlib import Path
from typing import IO, Any, Self

from reformatters_dagster.core.ledger.entries import LedgerEntry, read_ledger
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.store.stores import open_store
from tests.datasets import LEADS, PRIMARY, SECOND, SOON, Sample, gfs_key, lay_out
from tests.faults.children import ID, STORE
from tests.stores import S3Server

ROOT = Path(__file__).parents[2]
PUTS = 33
"""Of an undisturbed update; before and after each variable that is uploaded goes a note of it."""
NOW = SECOND + SOON
"""Of the update that appends the second init time."""
SETTINGS = ("AWS_", "NO_PROXY", "PATH", "HOME", "TMPDIR", "TEST_")


class Forks:
    """The process that forks the others: see `tests.faults.forked`."""

    def __init__(self, ask: IO[str], answers: IO[str]) -> None:
        self._ask, self._answers = ask, answers

    @classmethod
    @contextmanager
    def started(cls, templates: Path, sample: Path) -> Iterator[Self]:
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.faults.forked"]
        environment = os.environ | {"TEST_TEMPLATES": str(templates), "TEST_SAMPLE": str(sample)}
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                yield cls(process.stdin, process.stdout)
            finally:
                process.stdin.close()

    def request(self, **request: Any) -> dict[str, int]:
        self._ask.write(json.dumps(request) + "\n")
        self._ask.flush()
        answer: dict[str, int] = json.loads(self._answers.readline())
        return answer


@dataclass(frozen=True)
class Process:
    """One that was forked."""

    pid: int
    folder: Path
    forks: Forks

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @cached_property
    def status(self) -> int:
        """Exit status once it has ended, negative for a signal."""
        return self.forks.request(wait=self.pid)["status"]

    @property
    def run_name(self) -> str:
        """What `--resume` takes."""
        found = re.search(r"run=(cli-\w+)", self.err)
        assert found is not None, self.err
        return found[1]

    @property
    def has_ended(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    def wait_for(self, condition: Callable[[], object], seconds: float = 30.0) -> None:
        """Look until it is so, while the process works."""
        give_up = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < give_up, f"it did not happen in time:\n{self.err}"
            assert not self.has_ended, self.err
            time.sleep(0.01)

    @property
    def out(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "stderr").read_text()


@dataclass(frozen=True)
class Deployment:
    """Upstream, tmp and processes in a folder; stores in it too, or in a bucket."""

    folder: Path
    forks: Forks
    sample: Sample
    base: str
    """Of the stores."""
    server: S3Server | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further variables of the processes; an empty one is left out."""
    numbers: Iterator[int] = field(default_factory=count)

    def at(self, base: str) -> "Deployment":
        """The same with its stores elsewhere."""
        return replace(self, base=base)

    def having(self, **settings: str) -> "Deployment":
        """The same place with other variables."""
        return replace(self, settings={**self.settings, **settings})

    @property
    def s3(self) -> S3Server:
        """The server of the bucket."""
        assert self.server is not None
        return self.server

    @property
    def upstream(self) -> Path:
        return self.folder / "upstream"

    def arrive(self, *init_times: Timestamp, leads: Iterable[int] = LEADS) -> None:
        """Let files appear upstream."""
        keys = [gfs_key(init_time, lead) for init_time, lead in product(init_times, leads)]
        lay_out(self.sample.folder, self.upstream, keys)

    def file(self, lead: int, init_time: Timestamp) -> Path:
        return self.upstream / PRIMARY / gfs_key(init_time, lead)

    def start(self, call: str, *arguments: str) -> Process:
        """Begin a function of `tests.faults.children` in a process."""
        folder = self.folder / f"process-{next(self.numbers)}"
        folder.mkdir()
        (self.upstream / PRIMARY).mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if name.startswith(SETTINGS)}
        environment |= {
            "REFORMATTERS_STORE": self.base,
            "REFORMATTERS_UPSTREAM": str(self.upstream),
            "REFORMATTERS_TMP": str(self.folder / "tmp"),
        }
        environment = {name: value for name, value in (environment | dict(self.settings)).items() if value}
        answer = self.forks.request(folder=str(folder), call=call, arguments=arguments, environment=environment)
        return Process(answer["pid"], folder, self.forks)

    def reformat(self, command: str, *arguments: str) -> Process:
        """Run the command line to its end."""
        process = self.start("reformat", command, ID, *arguments)
        assert process.status is not None
        return process

    def start_update(self, now: Timestamp, *arguments: str) -> Process:
        """Begin an update in a process."""
        return self.start("reformat", "update", ID, "--now", f"{now:%Y-%m-%dT%H:%M}", *arguments)

    def update(self, now: Timestamp, *arguments: str) -> Process:
        return self.reformat("update", "--now", f"{now:%Y-%m-%dT%H:%M}", *arguments)

    def put(self, objects: Mapping[str, bytes]) -> None:
        """Lay objects out by their keys below the base."""
        store = open_store(self.base, "")
        for key, data in objects.items():
            store.put(key, data)

    def objects(self) -> dict[str, bytes]:
        """Every object of the primary store by its key."""
        store = open_store(self.base, STORE)
        return {key: store.get(key)[0] for key, _ in store.list()}

    def all_objects(self) -> dict[str, bytes]:
        """Every object below the base."""
        store = open_store(self.base, "")
        return {key: store.get(key)[0] for key, _ in store.list() if not key.endswith(".lock")}

    def ledger(self) -> dict[str, Any]:
        """Entries by partition, without what differs from run to run."""
        store = open_store(self.base, f"{ID}/_internal/v0.1.0")
        entries = {key: json.loads(store.get(key)[0]) for key, _ in store.list("ledger")}
        return {
            key: {name: entry[name] for name in entry.keys() - {"run_id", "root_run", "written_at", "published"}}
            for key, entry in entries.items()
        }

    def entry(self, label: Timestamp) -> LedgerEntry:
        """What the ledger says of a partition."""
        entry = read_ledger(open_store(self.base, f"{ID}/_internal/v0.1.0"), partition_key(label))
        assert entry is not None
        return entry

    def leftovers(self) -> list[str]:
        """What a run is to have removed when it is over: leases, progress, tmp files."""
        store = open_store(self.base, f"{ID}/_internal/v0.1.0")
        kept = [key for folder in ("lease", "progress") for key, _ in store.list(folder)]
        return kept + [str(path) for path in (self.folder / "tmp").rglob("*")]


@dataclass(frozen=True)
class Undisturbed:
    """What an update finds that does `INIT` again and appends `SECOND`, and what it makes when nothing happens to it."""

    before: dict[str, bytes]
    """Every object by its key below the base, the platform's own included."""
    store: dict[str, bytes]
    ledger: dict[str, Any]
    views: list[dict[str, str]]
    """What readers see, in order: see `digests`."""
    upstream: Path
