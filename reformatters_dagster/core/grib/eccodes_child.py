"""Messages read by ecCodes, with its own idea of where their points lie: the child of `second_decoder`.

In, by stdin, again and again: a JSON line with the lengths of some messages and a box of latitudes and longitudes, then the
messages. Out, by stdout: a JSON line with what ecCodes calls each message and how many points lie in the box; then, as float64,
the latitudes and the longitudes of these points, and the values of each message there, missing ones as NaN. Where ecCodes refuses
a message, the line says so, and nothing follows.

It is run as a script and imports nothing of the project. It ends with status 3 where ecCodes cannot be imported; the last line on
stderr says why.
"""

import json
import resource
import sys
from contextlib import suppress
from typing import Any

import numpy as np

NO_ECCODES = 3
MISSING = -(2.0**60)
CPU_SECONDS = 120
TOLD = ("shortName", "typeOfLevel", "level", "dataDate", "dataTime", "stepRange", "perturbationNumber")

try:
    import eccodes
except Exception as error:
    sys.stderr.write(f"{type(error).__name__}: {error}\n")
    sys.exit(NO_ECCODES)

type Numbers = np.ndarray[tuple[int], np.dtype[np.float64]]


def inside(latitude: Numbers, longitude: Numbers, box: dict[str, float]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which points lie in a box, that is given by its middle meridian and how far it reaches to both sides."""
    east = (longitude - box["meridian"] + 180) % 360 - 180
    found: np.ndarray[tuple[int], np.dtype[np.bool_]] = (
        (latitude >= box["south"]) & (latitude <= box["north"]) & (np.abs(east) <= box["reach"])
    )
    return found


def read(message: bytes, box: dict[str, float]) -> tuple[str, Numbers, Numbers, Numbers]:
    """What ecCodes calls a message, and its points in the box."""
    handle = eccodes.codes_new_from_message(message)
    try:
        eccodes.codes_set(handle, "missingValue", MISSING)
        values, latitude, longitude = (
            np.asarray(eccodes.codes_get_array(handle, key), np.float64)
            for key in ("values", "latitudes", "longitudes")
        )
        words = [
            f"{key}={eccodes.codes_get_string(handle, key)}" for key in TOLD if eccodes.codes_is_defined(handle, key)
        ]
    finally:
        eccodes.codes_release(handle)
    if not values.size == latitude.size == longitude.size:
        raise ValueError(f"{values.size} values at {latitude.size} latitudes and {longitude.size} longitudes")
    chosen = inside(latitude, longitude, box)
    values = values[chosen]
    values[values == MISSING] = np.nan
    return " ".join(words), latitude[chosen], longitude[chosen], values


def answer(request: dict[str, Any], messages: list[bytes]) -> tuple[dict[str, Any], list[Numbers]]:
    """Head and arrays of an answer."""
    found = [read(message, request["box"]) for message in messages]
    _, latitude, longitude, _ = found[0]
    if any(not np.array_equal(one[1], latitude) or not np.array_equal(one[2], longitude) for one in found):
        raise ValueError("the messages do not have the same points")
    words = [one[0] for one in found]
    return {"words": words, "points": int(latitude.size)}, [latitude, longitude, *(one[3] for one in found)]


def serve() -> None:
    with suppress(OSError, ValueError):  # not on every system
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while line := requests.readline():
        request = json.loads(line)
        messages = [requests.read(length) for length in request["lengths"]]
        try:
            head, arrays = answer(request, messages)
        except (eccodes.CodesInternalError, ValueError, MemoryError) as error:
            head, arrays = {"refused": f"{type(error).__name__}: {error}"}, []
        answers.write(json.dumps(head).encode() + b"\n" + b"".join(one.astype("<f8").tobytes() for one in arrays))
        answers.flush()


if __name__ == "__main__":
    serve()
