"""Damaged messages of every packing: `python -m tests.fuzz_grib COUNT SEED` prints what became of them.

In: messages, made and real. Out: a JSON line of counts. `values`, `corrupt` and `ecCodes ended` are the only outcomes there
should be; `ecCodes ended` is the death of the child that unpacks the rarer packings, which costs one message. Messages are
unpacked in processes of some thousand each: one that dies counts as a crash.
"""

import json
import resource
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, BinaryIO, cast

import imagecodecs
import numpy as np

from reformatters_dagster.core.grib.header import read_header
from reformatters_dagster.core.grib.messages import decode
from reformatters_dagster.core.spec.errors import CorruptMessage
from tests.core.grib.real_messages import FILES, messages_of
from tests.grib_writer import Complex, Group, Scaling, frame, reframed, simple

ROOT = Path(__file__).parents[1]
MOST_POINTS = 1 << 20
LARGE = 100_000
"""Messages of more points are damaged rarely: each takes a hundred times as long."""
BATCH = 20_000
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


def set_marker(random: Random, sections: Sections, other: Sections) -> None:
    """Of a code stream or an image: its header, of one octet or of four."""
    data = content(sections, 7)
    at, size = random.randint(0, min(len(data), 180)), random.choice((1, 1, 4))
    data[at : at + size] = (
        random.choice(TELLING_LONG).to_bytes(4, "big") if size == 4 else bytes([random.choice(TELLING)])
    )


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
    set_marker,
    set_marker,
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
    for bits, reversible in ((12, True), (12, False), (8, True), (20, True)):
        image = (numbers % min(2**bits, 4000)).astype("u1" if bits == 8 else "u2" if bits < 17 else "u4")
        data = imagecodecs.jpeg2k_encode(
            image, codecformat="j2k", bitspersample=bits, reversible=reversible, level=0 if reversible else 90
        )
        packing = struct.pack(">IH", 216, 40) + Scaling().octets() + bytes([bits, 0, 0, 255])
        messages.append(frame((9, 24), packing, bytes(data)))
    for precision, kind in ((1, ">f4"), (2, ">f8")):
        packing = struct.pack(">IHB", 216, 4, precision)
        messages.append(frame((9, 24), packing, numbers.astype(kind).tobytes()))
    messages.append(simple([random.randrange(2**40) for _ in range(60)], 40, (6, 10)))
    return messages + by_eccodes(numbers)


def by_eccodes(numbers: np.ndarray[tuple[int, ...], np.dtype[np.uint16]]) -> list[bytes]:
    """Packings that are left to ecCodes, packed by it in a child, since it must not share a process with pygrib."""
    packings: Sequence[Mapping[str, int | str]] = (
        {"packingType": "grid_second_order"},
        {"packingType": "grid_simple_log_preprocessing"},
        {"packingType": "grid_jpeg"},
        {"packingType": "grid_run_length", "bitsPerValue": 8, "maxLevelValue": 2, "numberOfLevelValues": 2},
    )
    ny, nx = numbers.shape
    grid = {"Ni": nx, "Nj": ny, "numberOfDataPoints": numbers.size}
    child = subprocess.Popen(
        [sys.executable, "-P", ROOT / "tests/eccodes_child.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    requests, answers = cast("BinaryIO", child.stdin), cast("BinaryIO", child.stdout)
    messages = []
    for packing in packings:
        head = {"points": numbers.size, "before": {**grid, "bitsPerValue": 12, **packing}, "after": {}}
        requests.write(json.dumps(head).encode() + b"\n" + numbers.astype("<f8").tobytes())
        requests.flush()
        messages.append(answers.read(int(answers.readline())))
    child.communicate()
    return [message for message in messages if message]


def real() -> list[bytes]:
    """Some messages of each packing, the smallest, if they are there."""
    messages: dict[bytes, bytes] = {}
    for path in FILES if FILES and FILES[0].exists() else ():
        for message, _ in messages_of(path):
            sections = sections_of(message)
            packing = content(sections, 5)
            kind = bytes(packing[4:6] + packing[14:] + content(sections, 6)[:1])
            if len(message) < len(messages.get(kind, bytes(1 << 30))):
                messages[kind] = message
    by_packing: dict[bytes, list[bytes]] = {}
    for message in sorted(messages.values(), key=len):
        by_packing.setdefault(bytes(content(sections_of(message), 5)[4:6]), []).append(message)
    return [message for group in by_packing.values() for message in group[:20]]


def outcome(message: bytes) -> str:
    try:
        if read_header(message, "damaged").points > MOST_POINTS:
            return "too large to try"
        decode(message, add_offset=-273.15, where="damaged")
    except CorruptMessage as error:
        return "ecCodes ended" if "ecCodes unpacked it and" in str(error) else "corrupt"
    return "values"


def batch(count: int, seed: int) -> dict[str, float]:
    random = Random(seed)
    whole = [sections_of(message) for message in made(random) + real()]
    large = [one for one in whole if int.from_bytes(content(one, 3)[1:5], "big") > LARGE]
    small = [one for one in whole if one not in large]
    for sections in whole:
        found = outcome(joined(sections))
        assert found in {"values", "too large to try"}, content(sections, 5)
    outcomes: Counter[str] = Counter()
    slowest, before = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(count):
        chosen = large if large and random.random() < 0.003 else small
        sections = [(number, bytearray(content)) for number, content in random.choice(chosen)]
        for _ in range(random.randint(1, 3)):
            random.choice(DAMAGES)(random, sections, random.choice(small))
        began = time.process_time()
        outcomes[outcome(joined(sections))] += 1
        slowest = max(slowest, time.process_time() - began)
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        **outcomes,
        "slowest_cpu_seconds": round(slowest, 3),
        "growth_megabytes": growth >> 10,
        "messages": len(whole),
    }


def run(count: int, seed: int) -> dict[str, float]:
    """Batches one after the other, each in a process of its own."""
    total: Counter[str] = Counter(crashes=0)
    worst = {"slowest_cpu_seconds": 0.0, "growth_megabytes": 0.0, "messages": 0.0}
    for number, begin in enumerate(range(0, count, BATCH)):
        size, own_seed = min(BATCH, count - begin), seed * 100_000 + number
        script = f"import json; from tests.fuzz_grib import batch; print(json.dumps(batch({size}, {own_seed})))"
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stderr.write(f"batch({size}, {own_seed}) ended with {done.returncode}: {done.stderr[-2000:]}\n")
            total["crashes"] += 1
            continue
        found: dict[str, Any] = json.loads(done.stdout)
        worst = {name: max(value, found.pop(name)) for name, value in worst.items()}
        total.update(found)
    return {**total, **worst}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))))
