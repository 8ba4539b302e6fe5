"""Fields packed by ecCodes, in a child process of its own, since it must not share one with pygrib.

In, by stdin: a JSON line, then the values. Out, by stdout: the length of a message and the message; length 0 where
ecCodes refuses. It is run as a script and imports nothing of the project.
"""

import json
import sys

import eccodes
import numpy as np

type Keys = dict[str, int | float | str]


def pack(before: Keys, values: np.ndarray[tuple[int], np.dtype[np.float64]], after: Keys) -> bytes:
    """Keys are set before and after the values, in their order."""
    handle = eccodes.codes_grib_new_from_samples("GRIB2")
    try:
        for key, value in before.items():
            eccodes.codes_set(handle, key, value)
        eccodes.codes_set_values(handle, values)
        for key, value in after.items():
            eccodes.codes_set(handle, key, value)
        message: bytes = eccodes.codes_get_message(handle)
    except eccodes.CodesInternalError:
        return b""
    finally:
        eccodes.codes_release(handle)
    return message


def serve() -> None:
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while line := requests.readline():
        head = json.loads(line)
        values = np.frombuffer(requests.read(head["points"] * 8), dtype="<f8")
        message = pack(head["before"], values, head["after"])
        answers.write(b"%d\n" % len(message) + message)
        answers.flush()


if __name__ == "__main__":
    serve()
