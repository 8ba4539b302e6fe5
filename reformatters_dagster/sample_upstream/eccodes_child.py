"""The encoder's child. In, on stdin: a JSON line and its values, again and again. Out, on stdout: length and message of each.

A script that imports nothing of the project, so that it starts quickly.
"""

import json
import sys
from collections.abc import Mapping

import eccodes
import numpy as np

NO_SECONDARY_MISSING_VALUE = 0xFFFFFFFF


def pack(
    keys: Mapping[str, int | str],
    values: np.ndarray[tuple[int], np.dtype[np.float64]],
    decimal: int,
    binary: int,
    packing: str,
) -> bytes:
    """Pack one message. ecCodes takes a number of bits, not scales: the bits that whole steps just need give it both."""
    steps = values * 10.0**decimal
    reference = float(np.float32(steps.min()))
    steps -= reference
    steps *= 2.0**-binary
    np.rint(steps, out=steps)
    bits = int(steps.max()).bit_length()
    steps *= 2.0**binary
    steps += reference
    handle = eccodes.codes_grib_new_from_samples("GRIB2")
    try:
        for key, value in keys.items():
            set_key(handle, key, value)
        eccodes.codes_set(handle, "packingType", packing)
        if packing == "grid_complex_spatial_differencing":
            eccodes.codes_set(handle, "orderOfSpatialDifferencing", 2)
        eccodes.codes_set(handle, "bitsPerValue", bits)
        eccodes.codes_set_values(handle, steps)
        eccodes.codes_set(handle, "decimalScaleFactor", decimal)
        if packing == "grid_complex_spatial_differencing":
            eccodes.codes_set(handle, "secondaryMissingValueSubstitute", NO_SECONDARY_MISSING_VALUE)
        message: bytes = eccodes.codes_get_message(handle)
    finally:
        eccodes.codes_release(handle)
    # NCEP leaves the reserved octets of section 0 at zero, ecCodes at 255.
    return b"GRIB\0\0" + message[6:]


def set_key(handle: int, key: str, value: int | str) -> None:
    try:
        eccodes.codes_set(handle, key, value)
    except eccodes.CodesInternalError as error:
        raise ValueError(f"key {key!r} cannot be set to {value!r}: {error}") from error


def serve() -> None:
    """Answer requests until there are no more."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while line := requests.readline():
        head = json.loads(line)
        values = np.frombuffer(requests.read(head["points"] * 8), dtype="<f8")
        message = pack(head["keys"], values, head["decimal_scale"], head["binary_scale"], head["packing"])
        answers.write(b"%d\n" % len(message) + message)
        answers.flush()


if __name__ == "__main__":
    serve()
