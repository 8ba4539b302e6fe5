"""The rarer packings, unpacked by ecCodes in a process of its own.

In: a message. Out: its values, or CorruptMessage. A damaged message can crash ecCodes, or keep it busy; then the child ends, and
this process goes on with a new one.
"""

import atexit
import os
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
        self._script = script
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = Lock()

    def unpack(self, message: bytes, points: int, where: str) -> Values:
        with self._lock:
            child = self._child or self._start()
            requests, answers = cast("BinaryIO", child.stdin), cast("BinaryIO", child.stdout)
            try:
                requests.write(struct.pack("<QQ", points, len(message)) + message)
                requests.flush()
                count, content = _answer(answers, points)
            except (OSError, EOFError) as error:
                raise CorruptMessage(f"{where}: ecCodes unpacked it and {self._ended()}; fetch it again") from error
            except BaseException:
                self._ended()
                raise
        if count < 0:
            raise CorruptMessage(
                f"{where}: ecCodes cannot unpack it ({content.decode(errors='replace')}); fetch it again"
            )
        return np.frombuffer(content, "<f8").astype(np.float64)

    def close(self) -> None:
        with self._lock:
            if self._child is not None:
                self._ended()

    def _start(self) -> subprocess.Popen[bytes]:
        self._child = subprocess.Popen(
            [sys.executable, "-P", self._script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # ecCodes says there what its error says too
            process_group=0,  # an interrupt at the terminal is for the run, which may still want its fields
        )
        return self._child

    def _ended(self) -> str:
        """End the child, and say how it ended."""
        child, self._child = cast("subprocess.Popen[bytes]", self._child), None
        for pipe in (child.stdin, child.stdout):
            _close(cast("BinaryIO", pipe))
        try:
            status = child.wait(timeout=1)
        except subprocess.TimeoutExpired:
            child.kill()
            status = child.wait()
        if status == -signal.SIGPROF:
            return "took longer than any field does"
        return f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


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
