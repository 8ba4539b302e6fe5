"""Messages to GRIB2. In: ecCodes keys and values. Out: bytes, packed as NOAA or DWD pack them.

ecCodes must not share a process with pygrib, so only a child imports it: `eccodes_child.py`, run as a script.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, NamedTuple, Self, cast

import numpy as np

from reformatters_dagster.core.spec.errors import EncodingFailed

CHILD = Path(__file__).with_name("eccodes_child.py")
KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "1000000000"}
"""For glibc. It saves a sixth of the work: buffers are not returned to the system and fetched again."""

type Packing = Literal["grid_complex_spatial_differencing", "grid_simple", "grid_png", "grid_ccsds"]


class SampleMessage(NamedTuple):
    """One GRIB2 message to be made."""

    keys: Mapping[str, int | str]
    """ecCodes keys of sections 0 to 4, set in this order over its `GRIB2` sample."""
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    """In the scanning order of the grid."""
    decimal_scale: int
    binary_scale: int
    """Values are rounded to the lowest value plus a multiple of `2**binary_scale * 10**-decimal_scale`."""
    packing: Packing = "grid_complex_spatial_differencing"
    """In ecCodes' words. NOAA's models use second-order differences (template 5.3), DWD simple packing (5.0), radar PNG (5.41),
    ECMWF CCSDS (5.42)."""


class Encoder:
    """A child process in which ecCodes packs messages."""

    def __enter__(self) -> Self:
        self._complaints = tempfile.TemporaryFile()
        self._child = subprocess.Popen(
            [sys.executable, "-P", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env=os.environ | KEEP_FREED_MEMORY,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._child.kill()
        self._child.communicate()
        self._complaints.close()

    def encode(self, message: SampleMessage) -> bytes:
        """Make one message.

        Raises
        ------
        EncodingFailed
            ecCodes refused a key or the values, or is not installed. This encoder cannot be used again.
        """
        requests, answers = cast("BinaryIO", self._child.stdin), cast("BinaryIO", self._child.stdout)
        head = message._asdict() | {"points": message.values.size}
        del head["values"]
        try:
            requests.write(json.dumps(head).encode() + b"\n")
            requests.write(np.ascontiguousarray(message.values, dtype="<f8").data)
            requests.flush()
            return answers.read(int(answers.readline()))
        except (OSError, ValueError) as error:
            raise EncodingFailed(self._last_words(message)) from error

    def _last_words(self, message: SampleMessage) -> str:
        self._child.communicate()
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace").strip().splitlines() or ["nothing"]
        return (
            f"a message of {len(message.keys)} keys and {message.values.size} values was to be encoded; "
            f"the encoder ended with status {self._child.returncode} and said {said[-1]!r}; "
            "check the keys, that no value is missing, and that eccodes can be imported"
        )
