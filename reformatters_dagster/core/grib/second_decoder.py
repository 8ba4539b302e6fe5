"""Messages read once more, by another decoder: by ecCodes, in a process of its own, with its own idea of where their points lie.

In: messages of one grid, and a box. Out: the points in the box, with the values of each message. Nothing of this room that
decodes, orders or verifies messages takes part, so an error of it shows.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, BinaryIO, Self, cast

import numpy as np
import numpy.typing as npt

from reformatters_dagster.core.spec.errors import CorruptMessage, ReformatError, SecondDecoderMissing

CHILD = Path(__file__).with_name("eccodes_child.py")
NO_ECCODES = 3
"""Status of a child that cannot import ecCodes."""


@dataclass(frozen=True)
class Box:
    """A part of the globe, in degrees: latitudes, a meridian, and how far it reaches to either side of it."""

    south: float
    north: float
    meridian: float
    reach: float


@dataclass(frozen=True)
class SecondReading:
    """What the second decoder found in a box.

    Attributes
    ----------
    words : tuple of str
        What it calls each message.
    latitude, longitude : (point,) float64
        In the order of the messages.
    values : (message, point) float64
        In the units of the messages; missing is NaN.
    """

    words: tuple[str, ...]
    latitude: npt.NDArray[np.float64]
    longitude: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]


class SecondDecoder:
    """A child process in which ecCodes reads messages, started when it is first needed. Use as a context manager.

    Parameters
    ----------
    script : Path
        What the child runs.
    """

    def __init__(self, script: Path = CHILD) -> None:
        self._command = [sys.executable, "-P", str(script)]
        self._child: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        """What the child writes to stderr. A pipe that nobody reads would stop it once it is full."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._child is not None:
            self._child.kill()
            self._ended()

    def read(self, messages: Sequence[bytes], box: Box, where: str) -> SecondReading:
        """Read messages of one grid. After an error the next messages are given to a new child.

        Parameters
        ----------
        where : str
            Names the messages in an error.

        Raises
        ------
        SecondDecoderMissing
            ecCodes cannot be imported.
        CorruptMessage
            ecCodes refuses a message, crashes or takes too long, or the messages have different points.
        """
        child = self._child = self._child or self._started()
        requests, answers = cast("BinaryIO", child.stdin), cast("BinaryIO", child.stdout)
        request = {"lengths": [len(one) for one in messages], "box": asdict(box)}
        try:
            requests.write(json.dumps(request).encode() + b"\n" + b"".join(messages))
            requests.flush()
            head = json.loads(answers.readline())
            shape = 2 + len(messages), head.get("points", 0)
            arrays = np.frombuffer(answers.read(8 * shape[0] * shape[1]), "<f8").reshape(shape)
        except (OSError, ValueError) as error:
            raise self._explained(where) from error
        if "refused" in head:
            raise CorruptMessage(f"{where}: the second decoder cannot read it ({head['refused']}); fetch it again")
        return SecondReading(tuple(head["words"]), arrays[0], arrays[1], arrays[2:])

    def _started(self) -> "subprocess.Popen[bytes]":
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 -- it lives as long as the child
        return subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, process_group=0
        )

    def _explained(self, where: str) -> ReformatError:
        """Why the child gave no answer that can be read."""
        status, said = self._ended()
        if status == NO_ECCODES:
            return SecondDecoderMissing(
                f"ecCodes was to read {where} as a second decoder; it cannot be imported ({said}): install the packages eccodes "
                "and eccodeslib, as `uv sync` does"
            )
        return CorruptMessage(
            f"{where}: the second decoder ended with status {status} and said {said!r}; fetch it again"
        )

    def _ended(self) -> tuple[int, str]:
        """Status and last words of the child, which is gone then."""
        child, self._child = cast("subprocess.Popen[bytes]", self._child), None
        with suppress(OSError):  # what was still to be written to a child that ended
            cast("BinaryIO", child.stdin).close()
        cast("BinaryIO", child.stdout).close()
        status = child.wait()
        with cast("IO[bytes]", self._said) as written:
            written.seek(0)
            said = written.read().decode(errors="replace").strip().splitlines() or ["nothing"]
        return status, said[-1]
