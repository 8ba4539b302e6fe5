"""Messages unpacked by ecCodes, in a process that may die: the child of `apart`.

In, by stdin: the points and the length of a message as two unsigned 64-bit numbers, then the message. Out, by stdout: a signed
64-bit number and so many values as float64, missing ones as NaN. Where ecCodes refuses, the number is negative, and so many
octets of the reason follow.

It is run as a script and imports nothing of the project.
"""

import resource
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pygrib

# pygrib masks every value near its missing value, by default 9999, which is a possible height or pressure.
MISSING = -(2**60)
CPU_SECONDS, POINTS_PER_SECOND = 0.8, 5_000_000
LONGEST_REASON = 4096
MOST_MEMORY = 1 << 30
"""Bytes beyond those in use when it starts."""


def bound_memory() -> None:
    with suppress(OSError, ValueError):  # not on every system
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MOST_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def refusal(reason: str) -> bytes:
    octets = reason.encode()[:LONGEST_REASON]
    return struct.pack("<q", -len(octets)) + octets


def unpack(message: bytes, points: int) -> bytes:
    try:
        field = pygrib.fromstring(message)
        field["missingValue"] = MISSING
        values = np.array(np.ma.getdata(field.values), np.float64).reshape(-1)
    except (RuntimeError, ValueError, KeyError, MemoryError) as error:
        return refusal(f"{type(error).__name__}: {error}")
    if values.size != points:
        return refusal(f"{values.size} values came out, its grid has {points} points")
    values[values == MISSING] = np.nan
    return struct.pack("<q", values.size) + values.astype("<f8").tobytes()


def serve() -> None:
    bound_memory()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while len(head := requests.read(16)) == 16:
        points, length = struct.unpack("<QQ", head)
        message = requests.read(length)
        # The signal ends the process when so much CPU is spent.
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS + points / POINTS_PER_SECOND)
        answer = unpack(message, points)
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(answer)
        answers.flush()


if __name__ == "__main__":
    serve()
