"""Damaged messages, unpacked by the kernels alone: `python -m tests.fuzz_grib COUNT SEED` prints what became of them.

In: small messages of every packing that is unpacked here, made and real. Out: a JSON line of counts, of which `values` and
`corrupt` are the only outcomes there should be; a crash or a hang ends without it. ecCodes is never called.
"""

import json
import math
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import imagecodecs
import numpy as np

from reformatters_dagster.core.grib.header import read_header
from reformatters_dagster.core.grib.packing import Units, unpack
from reformatters_dagster.core.spec.errors import CorruptMessage
from tests.grib_writer import Complex, Group, Scaling, frame, reframed, simple

GFS = Path(__file__).parents[1] / "../shared/data/gfs"
MOST_POINTS = 1 << 20
UNITS = Units(math.nan, 1.0, -273.15)
TELLING = (0, 1, 2, 3, 4, 7, 8, 31, 32, 33, 63, 64, 127, 128, 254, 255)
TELLING_LONG = (0, 1, 2**16, 2**24 - 1, 2**27, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)

type Sections = list[tuple[int, bytearray]]


def sections_of(message: bytes) -> Sections:
    found: Sections = []
    at = 16
    while at < len(message) - 4:
        length = int.from_bytes(message[at : at + 4], "big")
        found.append((message[at + 4], bytearray(message[at + 5 : at + length])))
        at += length
    return found


def joined(sections: Sections) -> bytes:
    body = b"".join(struct.pack(">IB", 5 + len(content), number) + content for number, content in sections)
    return reframed(b"GRIB\0\0\0\2" + bytes(8) + body)


def content(sections: Sections, number: int) -> bytearray:
    return next(content for n, content in sections if n == number)


def flip_bits(random: Random, sections: Sections, other: Sections) -> None:
    for _ in range(random.randint(1, 6)):
        part = content(sections, random.choice((5, 5, 5, 6, 7, 7)))
        if part:
            part[random.randrange(len(part))] ^= 1 << random.randrange(8)


def set_octet(random: Random, sections: Sections, other: Sections) -> None:
    packing = content(sections, 5)
    at = random.randint(0, len(packing))
    packing[at : at + 1] = bytes([random.choice(TELLING)])


def set_long(random: Random, sections: Sections, other: Sections) -> None:
    packing = content(sections, 5)
    at = random.choice((0, 26, 32, 37, random.randint(0, len(packing))))
    packing[at : at + 4] = random.choice(TELLING_LONG).to_bytes(4, "big")


def cut(random: Random, sections: Sections, other: Sections) -> None:
    part = content(sections, random.choice((5, 6, 7, 7, 7)))
    del part[random.randint(0, len(part)) :]


def lengthen(random: Random, sections: Sections, other: Sections) -> None:
    content(sections, random.choice((5, 6, 7))).extend(random.randbytes(random.randint(1, 20)))


def scramble(random: Random, sections: Sections, other: Sections) -> None:
    part = content(sections, random.choice((5, 7, 7)))
    at, size = random.randint(0, len(part)), random.randint(1, 40)
    part[at : at + size] = random.randbytes(len(part[at : at + size]))


def swap(random: Random, sections: Sections, other: Sections) -> None:
    number = random.choice((5, 6, 7))
    content(sections, number)[:] = content(other, number)


def resize(random: Random, sections: Sections, other: Sections) -> None:
    """Another grid, in words that agree with each other."""
    nx, ny = random.choice((1, 2, 3, 20, 77, 1000)), random.choice((1, 2, 3, 5, 1000))
    grid, packing = content(sections, 3), content(sections, 5)
    grid[1:5] = (nx * ny).to_bytes(4, "big")
    grid[25:33] = struct.pack(">II", nx, ny)
    packing[0:4] = (nx * ny).to_bytes(4, "big")


DAMAGES: Sequence[Callable[[Random, Sections, Sections], None]] = (
    flip_bits,
    flip_bits,
    set_octet,
    set_long,
    cut,
    lengthen,
    scramble,
    swap,
    resize,
)


def made(random: Random) -> list[bytes]:
    groups = [
        Group(random.randrange(200), width, [random.randrange(2**width) for _ in range(size)])
        for width, size in ((4, 9), (0, 5), (7, 30), (13, 4), (1, 12), (32, 3), (15, 7))
    ]
    flags = [1, 1, 0, 1] * 18 + [0, 1] * 16
    kinds = [
        Complex(groups, missing=missing, order=order, first=[500, 501][: order or 0], lowest=-40, descriptor_octets=2)
        for missing in (0, 1, 2)
        for order in (None, 1, 2)
    ]
    messages = [kind.message() for kind in kinds] + [kind.message((8, 13), flags) for kind in kinds]
    messages.extend(
        simple([random.randrange(2**width) for _ in range(60)], width, (6, 10), Scaling(3.5, -4, 1))
        for width in (0, 1, 8, 11, 16, 24, 32)
    )
    numbers = np.array([[random.randrange(4000) for _ in range(24)] for _ in range(9)], np.uint16)
    images: list[np.ndarray[tuple[int, ...], np.dtype[Any]]] = [numbers, numbers.astype(np.uint8)]
    for image in (*images, *(np.dstack([numbers.astype(np.uint8)] * n) for n in (3, 4))):
        packing = struct.pack(">IH", 216, 41) + Scaling().octets() + bytes([8 * image.nbytes // 216, 0])
        messages.append(frame((9, 24), packing, bytes(imagecodecs.png_encode(image))))
    for bits, block, interval in ((12, 32, 128), (16, 8, 1)):
        data = imagecodecs.aec_encode(numbers.ravel(), bitspersample=bits, blocksize=block, rsi=interval, flags=8)
        packing = struct.pack(">IH", 216, 42) + Scaling().octets() + struct.pack(">BBBBH", bits, 0, 14, block, interval)
        messages.append(frame((9, 24), packing, bytes(data)))
    return messages


def real() -> list[bytes]:
    """Fields of 2.5 degrees, some of each packing, if they are there."""
    messages: dict[bytes, bytes] = {}
    for path in GFS.glob("*2p50*"):
        if path.suffix == ".json":
            continue
        raw = path.read_bytes()
        at = 0
        while at < len(raw):
            message = raw[at : at + int.from_bytes(raw[at + 8 : at + 16], "big")]
            sections = sections_of(message)
            packing = content(sections, 5)
            messages.setdefault(bytes(packing[4:6] + packing[14:] + content(sections, 6)[:1]), message)
            at += len(message)
    return sorted(messages.values(), key=len)[:20]


def outcome(message: bytes) -> str:
    try:
        header = read_header(message, "damaged")
        if header.points > MOST_POINTS:
            return "too large to try"
        out = np.full(header.points, -1.0, np.float32)
        return "values" if unpack(message, UNITS, out, "damaged") else "left to ecCodes"
    except CorruptMessage:
        return "corrupt"


def run(count: int, seed: int) -> dict[str, float]:
    random = Random(seed)
    whole = [sections_of(message) for message in made(random) + real()]
    for sections in whole:
        assert outcome(joined(sections)) == "values"
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for _ in range(count):
        sections = [(number, bytearray(content)) for number, content in random.choice(whole)]
        for _ in range(random.randint(1, 3)):
            random.choice(DAMAGES)(random, sections, random.choice(whole))
        began = time.perf_counter()
        outcomes[outcome(joined(sections))] += 1
        slowest = max(slowest, time.perf_counter() - began)
    return {**outcomes, "slowest_seconds": round(slowest, 3), "seeds": len(whole)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))))
