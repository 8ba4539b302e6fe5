"""GRIB2 messages put together octet by octet, and what they must decode to, worked out without the code under test.

In: the numbers that are packed, and how. Out: a message of a TMP 2 m field on a grid of one degree.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

NONE = (1 << 32) - 1


def reframed(body: bytes) -> bytes:
    """The same octets, without section 8, with the length and the end that their number asks for."""
    return body[:8] + (len(body) + 4).to_bytes(8, "big") + body[16:] + b"7777"


def section(number: int, content: bytes) -> bytes:
    return struct.pack(">IB", 5 + len(content), number) + content


def frame(shape: tuple[int, int], packing: bytes, data: bytes, bit_map: Sequence[int] | None = None) -> bytes:
    """A message of these sections 5 and 7, and a bit map where there is one."""
    ny, nx = shape
    earth = bytes([6, *[255] * 15])
    grid = struct.pack(">BIBBH", 0, ny * nx, 0, 0, 0) + earth + struct.pack(">IIII", nx, ny, 0, NONE)
    grid += struct.pack(">IIBIIIIB", 1_000_000, 0, 48, 0, 1_000_000, NONE, NONE, 0)
    product = struct.pack(">HHBBBBBHBBIBBIBBI", 0, 0, 0, 0, 2, 0, 96, 0, 0, 1, 6, 103, 0, 2, 255, 255, NONE)
    return reframed(
        b"GRIB\0\0\0\2"
        + bytes(8)
        + section(1, struct.pack(">HHBBBHBBBBBBB", 7, 0, 2, 1, 1, 2026, 7, 29, 18, 0, 0, 0, 1))
        + section(3, grid)
        + section(4, product)
        + section(5, packing)
        + section(6, b"\xff" if bit_map is None else b"\0" + bits((flag, 1) for flag in bit_map))
        + section(7, data)
    )


def bits(numbers: Iterable[tuple[int, int]]) -> bytes:
    """Numbers of so many bits each, one after the other, filled up to whole octets."""
    text = "".join(f"{number:0{width}b}" for number, width in numbers if width)
    text += "0" * (-len(text) % 8)
    return int(text or "0", 2).to_bytes(len(text) // 8, "big")


def sign_and_magnitude(number: int, octets: int) -> bytes:
    return (abs(number) | (number < 0) << 8 * octets - 1).to_bytes(octets, "big")


@dataclass(frozen=True)
class Scaling:
    """Octets 12 to 19 of section 5: a value is (X * 2**binary + reference) / 10**decimal."""

    reference: float = 0.0
    binary: int = 0
    decimal: int = 0

    def octets(self) -> bytes:
        return (
            struct.pack(">f", self.reference) + sign_and_magnitude(self.binary, 2) + sign_and_magnitude(self.decimal, 2)
        )

    def value(self, number: int) -> float:
        (reference,) = struct.unpack(">f", struct.pack(">f", self.reference))
        power = 1.0
        for _ in range(abs(self.decimal)):
            power = power / 10 if self.decimal > 0 else power * 10
        return float((number * 2.0**self.binary + reference) * power)


def simple(
    numbers: Sequence[int],
    width: int,
    shape: tuple[int, int],
    scaling: Scaling = Scaling(),
    bit_map: Sequence[int] | None = None,
) -> bytes:
    """A message in simple packing (template 5.0)."""
    packing = struct.pack(">IH", len(numbers), 0) + scaling.octets() + bytes([width, 0])
    return frame(shape, packing, bits((number, width) for number in numbers), bit_map)


@dataclass(frozen=True)
class Group:
    """Numbers of complex packing that share a reference, each in `width` bits."""

    reference: int
    width: int
    numbers: Sequence[int]


@dataclass(frozen=True)
class Complex:
    """A field in complex packing: template 5.2, or 5.3 where there is an order of spatial differencing."""

    groups: Sequence[Group]
    reference_bits: int = 32
    width_bits: int = 8
    width_reference: int = 0
    length_bits: int = 16
    length_reference: int = 0
    length_step: int = 1
    missing: int = 0
    order: int | None = None
    first: Sequence[int] = ()
    lowest: int = 0
    descriptor_octets: int = 0
    scaling: Scaling = field(default_factory=Scaling)

    @property
    def points(self) -> int:
        return sum(len(group.numbers) for group in self.groups)

    def message(self, shape: tuple[int, int] | None = None, bit_map: Sequence[int] | None = None) -> bytes:
        packing = struct.pack(">IH", self.points, 2 if self.order is None else 3) + self.scaling.octets()
        packing += struct.pack(">BBBB", self.reference_bits, 0, 1, self.missing) + bytes(8)
        packing += struct.pack(">IBB", len(self.groups), self.width_reference, self.width_bits)
        packing += struct.pack(">IB", self.length_reference, self.length_step)
        packing += struct.pack(">IB", len(self.groups[-1].numbers) if self.groups else 0, self.length_bits)
        if self.order is not None:
            packing += bytes([self.order, self.descriptor_octets])
        return frame(shape or (1, self.points), packing, self._data(), bit_map)

    def _data(self) -> bytes:
        octets = self.descriptor_octets
        data = b"".join(number.to_bytes(octets, "big") for number in self.first)
        data += sign_and_magnitude(self.lowest, octets) if self.order and octets else b""
        data += bits((group.reference, self.reference_bits) for group in self.groups)
        data += bits((group.width - self.width_reference, self.width_bits) for group in self.groups)
        lengths = [(len(group.numbers) - self.length_reference) // self.length_step for group in self.groups[:-1]]
        data += bits((length, self.length_bits) for length in [*lengths, 0][: len(self.groups)])
        return data + bits((number, group.width) for group in self.groups for number in group.numbers)

    def values(self) -> list[float | None]:
        """What the field decodes to; None is missing."""
        numbers = list(chain.from_iterable(self._numbers(group) for group in self.groups))
        present = [number for number in numbers if number is not None]
        if self.order:
            present = self._summed(present)
        left = iter(present)
        return [None if number is None else self.scaling.value(next(left)) for number in numbers]

    def _numbers(self, group: Group) -> list[int | None]:
        if group.width:
            ones = 2**group.width - 1
            marks = [ones, ones - 1][: self.missing]
            return [None if number in marks else group.reference + number for number in group.numbers]
        ones = 2**self.reference_bits - 1
        marks = [ones, ones - 1][: self.missing]
        return [None if group.reference in marks else group.reference] * len(group.numbers)

    def _summed(self, differences: Sequence[int]) -> list[int]:
        order = self.order or 0
        summed = list(self.first[: len(differences)])
        for difference in differences[order:]:
            if order == 1:
                summed.append(summed[-1] + difference + self.lowest)
            else:
                summed.append(2 * summed[-1] - summed[-2] + difference + self.lowest)
        return summed
