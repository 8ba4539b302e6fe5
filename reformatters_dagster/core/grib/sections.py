"""Sections of a GRIB2 message.

In: the bytes of one message. Out: its sections, whose octets read as numbers.

Octets are numbered as in the WMO Manual on Codes: from 1, within each section. No octet is read unless it exists.
"""

from dataclasses import dataclass

import pandas as pd

from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.values import Timestamp

DAMAGED = "the bytes are damaged, fetch them again"
_SECTION_0 = 16
_SECTION_8 = b"7777"
_OTHER_FILE = "the index does not fit the file, or the file not its name; fetch it again"


def check_framing(message: bytes, where: str) -> None:
    """Check that bytes are exactly one GRIB2 message, from its first byte to its last.

    Parameters
    ----------
    message : bytes
    where : str
        Names the bytes in an error: `TMP:2 m above ground in s3://…`.

    Raises
    ------
    CorruptMessage
        The bytes do not begin with `GRIB`, are of another edition, are more or fewer than section 0 says, or do not end
        with `7777`.
    """
    size = len(message)
    if message[:4] != b"GRIB":
        raise CorruptMessage(
            f"{where}: {size} bytes begin with {message[:4]!r}, a message begins with b'GRIB'; {_OTHER_FILE}"
        )
    if size < _SECTION_0 + len(_SECTION_8):
        raise CorruptMessage(f"{where}: {size} bytes are too few for a message; fetch them again")
    if message[7] != 2:
        raise CorruptMessage(f"{where}: GRIB edition {message[7]!r}, expected 2; the source holds another format")
    declared = int.from_bytes(message[8:16], "big")
    if declared != size:
        raise CorruptMessage(f"{where}: the message declares {declared} bytes, {size} are here; {_OTHER_FILE}")
    if message[-4:] != _SECTION_8:
        raise CorruptMessage(f"{where}: {size} bytes end with {message[-4:]!r}, a message ends with b'7777'; {DAMAGED}")


@dataclass(frozen=True, slots=True)
class Section:
    """One section. Its octets include its length and number."""

    number: int
    body: memoryview
    where: str
    """Names the message in an error."""

    def unsigned(self, octet: int, size: int) -> int:
        """A number of `size` octets; `CorruptMessage` if the section ends before its last octet."""
        end = octet - 1 + size
        if end > len(self.body):
            raise CorruptMessage(
                f"{self.where}: section {self.number} has {len(self.body)} bytes, its template needs {end}; {DAMAGED}"
            )
        return int.from_bytes(self.body[octet - 1 : end], "big")

    def optional(self, octet: int, size: int) -> int | None:
        """An unsigned number; None where all bits are 1, which means missing."""
        value = self.unsigned(octet, size)
        return None if value == (1 << 8 * size) - 1 else value

    def signed(self, octet: int, size: int) -> int:
        """A number as sign and magnitude, which is how GRIB writes negative numbers."""
        value = self.unsigned(octet, size)
        sign = 1 << (8 * size - 1)
        return sign - value if value & sign else value

    def time(self, octet: int) -> Timestamp:
        year = self.unsigned(octet, 2)
        month, day, hour, minute, second = (self.unsigned(octet + k, 1) for k in range(2, 7))
        try:
            return pd.Timestamp(year=year, month=month, day=day, hour=hour, minute=minute, second=second)
        except ValueError as error:
            found = (year, month, day, hour, minute, second)
            raise CorruptMessage(f"{self.where}: section {self.number} has time {found!r}; {DAMAGED}") from error


def split(message: bytes, where: str) -> dict[int, Section]:
    """Cut a message of one field into sections 1 to 7. Its framing must have been checked.

    Raises
    ------
    CorruptMessage
        A section is missing, is in the wrong place or exceeds the message, or there are several fields.
    """
    found: dict[int, Section] = {}
    view = memoryview(message)
    offset, end = _SECTION_0, len(message) - len(_SECTION_8)
    while offset < end:
        length = int.from_bytes(message[offset : offset + 4], "big")
        number = message[offset + 4]
        if not 5 <= length <= end - offset:
            raise CorruptMessage(
                f"{where}: section {number!r} at byte {offset} claims {length} bytes of {end - offset} left; {DAMAGED}"
            )
        if 7 in found:
            raise CorruptMessage(
                f"{where}: the message holds more than one field, which is not read; use a source with one each"
            )
        if not max(found, default=0) < number <= 7:
            raise CorruptMessage(
                f"{where}: section {number!r} at byte {offset} follows sections {list(found)}; {DAMAGED}"
            )
        found[number] = Section(number, view[offset : offset + length], where)
        offset += length
    if missing := {1, 3, 4, 5, 6, 7} - found.keys():
        raise CorruptMessage(f"{where}: sections {sorted(missing)} are missing, found {list(found)}; {DAMAGED}")
    return found
