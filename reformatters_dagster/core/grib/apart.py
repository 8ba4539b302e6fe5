"""The rarer packings, unpacked by ecCodes in a process of its own.

In: a message. Out: its values, or CorruptMessage. A damaged message can crash ecCodes, or keep it busy; then the child ends, and
this process goes on with a new one. A child that had unpacked other messages may have ended for another reason, such as a lack of
memory: then the message is given to a new child once.
"""

import atexit
import os
import shlex
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO, cast

import numpy as np

from reformatters_dagster.core.spec.errors import CorruptMessage

_LONGEST_REASON = 4096
CHILD = Path(__file__).with_name("pygrib_child.py")

type Values = np.ndarray[tuple[int], np.dtype[np.float64]]


class Unpacker:
    """One child process at a time, started when it is first needed; it serves one message after the other.

    Parameters
    ----------
    script : Path
        What the child runs.
    """

    def __init__(self, script: Path = CHILD) -> None:
        self._command = [sys.executable, "-P", str(script)]
        self._child: subprocess.Popen[bytes] | None = None
        self._has_served = False
        """Whether the child has answered once."""
        self._lock = Lock()

    def unpack(self, message: bytes, points: int, where: str) -> Values:
        with self._lock:
            had_served = self._child is not None and self._has_served
            try:
                count, content = self._ask(message, points)
            except _ChildEnded as end:
                # It may have ended while it was idle, as when the system lacks memory: the message is not to blame for that.
                if not had_served or end.status == -signal.SIGPROF:
                    raise self._refusal(where, end.status) from end
                try:
                    count, content = self._ask(message, points)
                except _ChildEnded as again:
                    raise self._refusal(where, again.status) from again
        if count < 0:
            raise CorruptMessage(
                f"{where}: ecCodes cannot unpack it ({content.decode(errors='replace')}); fetch it again"
            )
        return np.frombuffer(content, "<f8").astype(np.float64)

    def close(self) -> None:
        with self._lock:
            if self._child is not None:
                self._ended()

    def _ask(self, message: bytes, points: int) -> tuple[int, bytes]:
        """What the child answers; `_ChildEnded` where it does not, and then there is none any more."""
        child = self._child or self._start()
        requests, answers = cast("BinaryIO", child.stdin), cast("BinaryIO", child.stdout)
        try:
            requests.write(struct.pack("<QQ", points, len(message)) + message)
            requests.flush()
            answer = _answer(answers, points)
        except (OSError, EOFError) as error:
            raise _ChildEnded(self._ended()) from error
        except BaseException:
            self._ended()
            raise
        self._has_served = True
        return answer

    def _refusal(self, where: str, status: int) -> CorruptMessage:
        advice = "fetch it again"
        if status == -signal.SIGPROF:
            how = "took longer than any field does"
        elif status < 0:
            how = f"ended by {signal.Signals(-status).name}"
        else:
            how = f"ended with status {status}"
        if status > 0:
            advice += f"; if others end so too, this shows why: {shlex.join(self._command)} < /dev/null"
        return CorruptMessage(f"{where}: ecCodes unpacked it and {how}; {advice}")

    def _start(self) -> subprocess.Popen[bytes]:
        self._has_served = False
        self._child = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # ecCodes says there what its error says too
            process_group=0,  # an interrupt at the terminal is for the run, which may still want its fields
        )
        return self._child

    def _ended(self) -> int:
        """End the child; its status, negative where a signal ended it."""
        child, self._child = cast("subprocess.Popen[bytes]", self._child), None
        for pipe in (child.stdin, child.stdout):
            _close(cast("BinaryIO", pipe))
        try:
            return child.wait(timeout=1)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()


class _ChildEnded(Exception):
    """A child ended, or was ended, before it gave an answer that can be read."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def _answer(answers: BinaryIO, points: int) -> tuple[int, bytes]:
    (count,) = struct.unpack("<q", _exactly(answers, 8))
    if not -_LONGEST_REASON <= count <= points:
        raise EOFError
    return count, _exactly(answers, 8 * count if count > 0 else -count)


def _exactly(answers: BinaryIO, size: int) -> bytes:
    content = answers.read(size)
    if len(content) < size:
        raise EOFError
    return content


def _close(pipe: BinaryIO) -> None:
    with suppress(OSError):  # what was still to be written to a child that ended
        pipe.close()


_unpacker = Unpacker()
_of_parents: list[Unpacker] = []


def _close_unpacker() -> None:
    _unpacker.close()


def _forget_unpacker() -> None:
    """In a fork: the child, and perhaps the lock, are those of the parent, and freeing them would write to its pipe."""
    global _unpacker  # noqa: PLW0603
    _of_parents.append(_unpacker)
    _unpacker = Unpacker()


atexit.register(_close_unpacker)
os.register_at_fork(after_in_child=_forget_unpacker)


def unpack_apart(message: bytes, points: int, where: str) -> Values:
    """Unpack a message with ecCodes; one at a time.

    Parameters
    ----------
    message : bytes
    points : int
        What its grid has. A child is given CPU time by that.
    where : str
        Names the message in an error.

    Returns
    -------
    (n,) float64
        In the order of the message; missing is NaN.

    Raises
    ------
    CorruptMessage
        ecCodes refuses the message; or the child crashed, or took longer or more memory than any field does.
    """
    return _unpacker.unpack(message, points, where)
