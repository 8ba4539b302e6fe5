"""Unpacking: bit for bit what pygrib makes of real, encoded and hand-made messages."""

import json
import math
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from reformatters_dagster.core.grib.header import read_header
from reformatters_dagster.core.grib.messages import decode
from reformatters_dagster.core.grib.packing import unpack
from reformatters_dagster.core.spec.errors import CorruptMessage
from tests.core.grib.packed import NOTHING_ELSE, Field, aec, oracle, png, same_bits
from tests.core.grib.real_messages import FILES, messages_of, slow_where_large
from tests.grib_writer import Complex, Group, Scaling, simple

ROOT = Path(__file__).parents[3]
UNPACKED = (0, 2, 3, 41, 42)

# Real messages


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("path", [slow_where_large(path) for path in FILES])
def test_real_messages(path: Path) -> None:
    for message, _ in messages_of(path):
        same_bits(decode(message), oracle(message))


# Messages that ecCodes encodes


class Packer:
    """A child process that packs fields."""

    def __init__(self) -> None:
        script = ROOT / "tests/eccodes_child.py"
        self.child = subprocess.Popen([sys.executable, "-P", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(
        self, values: Field, before: Mapping[str, int | str], after: Mapping[str, int | str] | None = None
    ) -> bytes:
        """The message; empty where ecCodes refuses."""
        requests, answers = cast("BinaryIO", self.child.stdin), cast("BinaryIO", self.child.stdout)
        ny, nx = values.shape
        grid = {"Ni": nx, "Nj": ny, "numberOfDataPoints": values.size}
        head = {"points": values.size, "before": {**grid, **before}, "after": after or {}}
        requests.write(json.dumps(head).encode() + b"\n" + values.astype("<f8").tobytes())
        requests.flush()
        return answers.read(int(answers.readline()))


@pytest.fixture(scope="module")
def pack() -> Iterator[Packer]:
    packer = Packer()
    yield packer
    packer.child.communicate()
    assert packer.child.returncode == 0


PACKINGS: Mapping[str, Mapping[str, int | str]] = {
    "simple": {"packingType": "grid_simple"},
    "complex": {"packingType": "grid_complex"},
    "order 1": {"packingType": "grid_complex_spatial_differencing", "orderOfSpatialDifferencing": 1},
    "order 2": {"packingType": "grid_complex_spatial_differencing", "orderOfSpatialDifferencing": 2},
    "ccsds": {"packingType": "grid_ccsds"},
    "png": {"packingType": "grid_png"},
}
TEMPLATES = {"simple": 0, "complex": 2, "order 1": 3, "order 2": 3, "ccsds": 42, "png": 41}
FILL = 9999.0


def rough(random: np.random.Generator, shape: tuple[int, int]) -> Field:
    return random.normal(280, 20, shape)


def smooth(random: np.random.Generator, shape: tuple[int, int]) -> Field:
    return random.normal(0, 0.3, shape).cumsum(axis=1) - 40


def sparse(random: np.random.Generator, shape: tuple[int, int]) -> Field:
    return np.where(random.random(shape) < 0.9, 0, random.random(shape) * 30)


def whole(random: np.random.Generator, shape: tuple[int, int]) -> Field:
    return random.integers(0, 3, shape).astype(np.float64)


def constant(random: np.random.Generator, shape: tuple[int, int]) -> Field:
    return np.full(shape, random.normal(0, 1e5))


def huge(random: np.random.Generator, shape: tuple[int, int]) -> Field:
    return random.normal(0, 1, shape) * 10.0 ** random.integers(-30, 30)


FIELDS = (rough, smooth, sparse, whole, constant, huge)
HOLES: Mapping[str, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.bool_]]] = {
    "none": lambda draws: np.zeros(draws.shape, np.bool_),
    "scattered": lambda draws: draws < 0.2,
    "the first half": lambda draws: np.arange(draws.size).reshape(draws.shape) < draws.size // 2,
    "all but one": lambda draws: np.arange(draws.size).reshape(draws.shape) != draws.size // 2,
    "all": lambda draws: np.ones(draws.shape, np.bool_),
}


@pytest.mark.parametrize("packing", PACKINGS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_messages_that_eccodes_encodes(pack: Packer, packing: str, data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    shape = data.draw(st.sampled_from([(1, 1), (1, 2), (3, 1), (4, 5), (13, 17), (60, 80)]))
    values = data.draw(st.sampled_from(FIELDS))(random, shape)
    holes = data.draw(st.sampled_from(list(HOLES)))
    values[HOLES[holes](random.random(shape))] = FILL
    in_groups = packing in {"complex", "order 1", "order 2"}
    assume(not in_groups or (values != FILL).any())  # ecCodes encodes something else
    bits = data.draw(st.integers(0, 25))
    scaled = data.draw(st.sampled_from([{}, {"decimalScaleFactor": -2}, {"decimalScaleFactor": 3}]))
    bit_map = holes != "none" and not (in_groups and data.draw(st.booleans()))
    present = {"bitmapPresent": 1} if bit_map else {}
    message = pack(values, {"missingValue": int(FILL), **present, **PACKINGS[packing], "bitsPerValue": bits}, scaled)
    assume(message)
    assert read_header(message, "encoded").packing == TEMPLATES[packing]
    found = decode(message)
    same_bits(found, oracle(message))
    np.testing.assert_array_equal(np.isnan(found), values == FILL)


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_whole_field_of_each_packing(pack: Packer, packing: str) -> None:
    values = smooth(np.random.default_rng(1), (300, 400))
    message = pack(values, {**PACKINGS[packing], "bitsPerValue": 16})
    found = decode(message)
    same_bits(found, oracle(message))
    np.testing.assert_allclose(found, values, atol=np.ptp(values) / 2**15)


# Messages made by hand


def spread(values: Sequence[float | None], flags: Sequence[int] | None) -> list[float]:
    """NaN where a value is missing, or a point has none."""
    numbers = [math.nan if value is None else value for value in values]
    if flags is None:
        return numbers
    left = iter(numbers)
    return [next(left) if flag else math.nan for flag in flags]


SCALINGS = st.builds(
    Scaling,
    st.one_of(st.just(-0.0), st.floats(-(2.0**66), 2.0**66, width=32).filter(lambda x: abs(x) >= 2.0**-126 or x == 0)),
    st.integers(-40, 8),
    st.integers(-5, 25),
)


@st.composite
def bit_maps(draw: st.DrawFn, points: int) -> list[int] | None:
    if draw(st.booleans()):
        return None
    flags = [1] * points
    for _ in range(draw(st.integers(0, 12))):
        flags.insert(draw(st.integers(0, len(flags))), 0)
    return flags


@st.composite
def complex_fields(draw: st.DrawFn) -> Complex:
    reference_bits = draw(st.sampled_from([0, 1, 5, 8, 13, 24, 31, 32]))
    widths = st.one_of(st.integers(0, 32), st.integers(0, 14))
    step = draw(st.integers(1, 3))
    shortest = draw(st.integers(0, 5))
    groups = []
    for _ in range(draw(st.integers(1, 6))):
        width = draw(widths)
        length = shortest + step * draw(st.integers(0, 12))
        ones = 2**width - 1
        near_ones = st.integers(max(ones - 2, 0), ones)
        numbers = st.lists(st.one_of(st.integers(0, ones), near_ones), min_size=length, max_size=length)
        ones = 2**reference_bits - 1
        reference = draw(st.one_of(st.integers(0, ones), st.integers(max(ones - 2, 0), ones)))
        groups.append(Group(reference, width, draw(numbers)))
    assume(sum(len(group.numbers) for group in groups) >= len(groups))
    order = draw(st.sampled_from([None, 0, 1, 2]))
    octets = draw(st.integers(0 if not order else 1, 4))
    narrowest = min(group.width for group in groups)
    return Complex(
        groups,
        reference_bits=reference_bits,
        width_bits=draw(st.integers(6, 32)),
        width_reference=draw(st.integers(0, narrowest)),
        length_bits=draw(st.integers(4, 32)),
        length_reference=shortest,
        length_step=step,
        missing=draw(st.integers(0, 2)),
        order=order,
        first=[draw(st.integers(0, 256**octets - 1)) for _ in range(order or 0)],
        lowest=draw(st.integers(-(256**octets) // 2 + 1, 256**octets // 2 - 1)) if order else 0,
        descriptor_octets=octets if order else 0,
        scaling=draw(SCALINGS),
    )


def has_32_bit_missing_values(field: Complex) -> bool:
    """These ecCodes shifts out of an int."""
    return bool(field.missing) and (field.reference_bits == 32 or any(group.width == 32 for group in field.groups))


@settings(max_examples=400)
@given(st.data())
def test_complex_packing(data: st.DataObject) -> None:
    field = data.draw(complex_fields())
    flags = data.draw(bit_maps(field.points))
    message = field.message((1, field.points if flags is None else len(flags)), flags)
    found = decode(message)
    same_bits(found, spread(field.values(), flags))
    if not has_32_bit_missing_values(field):
        same_bits(found, oracle(message))


@settings(max_examples=300)
@given(st.integers(0, 32), SCALINGS, st.data())
@example(0, Scaling(3.0, 5, 2), None)
def test_simple_packing(width: int, scaling: Scaling, data: st.DataObject | None) -> None:
    numbers, flags = [2**width - 1] * 3, None
    if data is not None:
        numbers = data.draw(st.lists(st.integers(0, 2**width - 1), min_size=1, max_size=40))
        flags = data.draw(bit_maps(len(numbers)))
    message = simple(numbers, width, (1, len(numbers if flags is None else flags)), scaling, flags)
    same_bits(decode(message), oracle(message))


def test_long_fields_cross_every_block() -> None:
    random = np.random.default_rng(0)
    groups = [
        Group(3, width, random.integers(0, 2**width, size).tolist())
        for width, size in [(3, 4095), (0, 2), (14, 5000), (15, 4096), (2, 1), (1, 9001), (25, 700)]
    ]
    for order, first in ((None, []), (1, [9]), (2, [9, 8])):
        field = Complex(groups, order=order, first=first, lowest=-2, descriptor_octets=2 if order else 0)
        same_bits(decode(field.message()), np.array(field.values(), np.float64))


def test_values_of_no_bits() -> None:
    constant = Complex([Group(0, 0, [0] * 4)], reference_bits=0, scaling=Scaling(3.0, 0, 2))
    differences = Complex([Group(0, 3, [0, 0, 5, 7])], reference_bits=0, order=1, first=[9], descriptor_octets=1)
    for field, expected in ((constant, [0.03] * 4), (differences, [9, 9, 14, 21])):
        same_bits(decode(field.message()), expected)
        same_bits(decode(field.message()), oracle(field.message()))


@pytest.mark.parametrize("order", [None, 1, 2])
def test_complex_packing_without_groups_is_constant(order: int | None) -> None:
    none = Complex([], reference_bits=0, order=order, scaling=Scaling(2.5, 3, 1)).message((2, 2))
    template = 2 if order is None else 3
    message = none.replace(struct.pack(">IH", 0, template), struct.pack(">IH", 4, template))
    same_bits(decode(message), [2.5] * 4)
    same_bits(decode(message), oracle(message))


def test_all_missing() -> None:
    for message in (simple([], 8, (1, 4), bit_map=[0] * 4), Complex([]).message((1, 4), [0] * 4)):
        same_bits(decode(message), [math.nan] * 4)


@settings(max_examples=200)
@given(
    st.integers(1, 32),
    st.sampled_from([8, 16, 32, 64]),
    st.sampled_from([1, 7, 128, 4096]),
    st.sampled_from([8, 10, 12, 14, 0, 14 | 32]),
    st.integers(1, 300),
    st.integers(0, 2**32),
)
def test_ccsds_packing(bits: int, block: int, interval: int, flags: int, points: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    numbers = random.integers(0, 2 ** random.integers(0, bits, endpoint=True), points).tolist()
    message = aec(numbers, bits, block, interval, flags)
    same_bits(decode(message), [Scaling(-7.0, -3, 1).value(number) for number in numbers])
    same_bits(decode(message), oracle(message))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 24, 32])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7)])
def test_png_packing(bits: int, shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(bits).integers(0, 2**bits, shape).tolist()
    message = png(rows, bits)
    same_bits(decode(message), [Scaling(-3.0, 1, 1).value(number) for number in chain.from_iterable(rows)])
    if bits >= 8:  # ecCodes ends the process over fewer
        same_bits(decode(message), oracle(message))


def test_more_than_32_bits_are_left_to_eccodes() -> None:
    message = simple([2**40 - 1, 5], 40, (1, 2))
    assert not unpack(message, NOTHING_ELSE, np.empty(2, np.float32), "40 bits")
    same_bits(decode(message), oracle(message))


# Units, and where values go


@pytest.mark.parametrize("message", [simple([1, 50, 7], 8, (1, 3)), Complex([Group(0, 8, [1, 50, 7])]).message()])
def test_fill_value_is_masked_before_units_change_in_float64(message: bytes) -> None:
    found = decode(message, source_fill_value=50, scale_factor=0.1, add_offset=-273.15)
    same_bits(found, [1 * 0.1 - 273.15, math.nan, 7 * 0.1 - 273.15])


def test_values_are_written_where_they_are_wanted() -> None:
    place = np.full((2, 2), np.nan, np.float32)
    for message in (simple([1, 2, 3, 4], 8, (2, 2)), simple([1, 2, 3, 4], 40, (2, 2))):
        assert decode(message, out=place) is place
        np.testing.assert_array_equal(place, [[1, 2], [3, 4]])
        place[:] = np.nan


def test_place_of_another_shape() -> None:
    message = simple([1, 2, 3, 4], 8, (2, 2))
    with pytest.raises(CorruptMessage, match=r"TMP in f006 has shape \(2, 2\), its place has \(4, 1\); check the grid"):
        decode(message, out=np.empty((4, 1), np.float32), where="TMP in f006")
    with pytest.raises(ValueError, match=r"strides \(16, 8\); give a C-contiguous array"):
        decode(message, out=np.empty((2, 4), np.float32)[:, ::2])
