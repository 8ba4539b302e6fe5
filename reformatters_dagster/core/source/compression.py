"""Compressed source files. In: the bytes of a file. Out: its content, never more bytes than allowed."""

import bz2
import zlib
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from reformatters_dagster.core.spec.errors import CorruptMessage

type Compression = Literal["bz2", "gzip"]


class _Stream(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_GZIP_HEADER = 16 + zlib.MAX_WBITS
_STREAMS: Mapping[Compression, Callable[[], _Stream]] = {
    "bz2": bz2.BZ2Decompressor,
    "gzip": lambda: zlib.decompressobj(_GZIP_HEADER),
}


def decompress(data: bytes, kind: Compression, *, most: int, where: str) -> bytes:
    """The content of a compressed file; several streams in it are read as one.

    Parameters
    ----------
    data : bytes
        The whole file.
    most : int
        Bytes that the content may have. Hardly more are ever unpacked, whatever the file claims.
    where : str
        Name of the file, for the error.

    Raises
    ------
    CorruptMessage
        When the file is empty, has another format, is damaged, ends early, or holds more than `most` bytes.
    """
    if not data:
        raise CorruptMessage(f"{where} is empty; its upload may have only begun, try later")
    found = bytearray()
    rest = data
    while rest:
        stream = _STREAMS[kind]()
        try:
            found += stream.decompress(rest, most + 1 - len(found))
        except (OSError, zlib.error) as error:
            at = len(data) - len(rest)
            raise CorruptMessage(
                f"{where} was to be {kind}; of its {len(data)} bytes those from {at} on, {rest[:4]!r}, are not ({error}); "
                "fetch it again"
            ) from error
        if len(found) > most:
            raise CorruptMessage(
                f"{where}: {len(data)} bytes of {kind} hold more than the {most} that one field on the template's grid can take; "
                "the file is damaged, or holds something else"
            )
        if not stream.eof:
            raise CorruptMessage(
                f"{where}: its {len(data)} bytes of {kind} end before the {kind} stream does, after {len(found)} bytes came out; "
                "fetch it again"
            )
        rest = stream.unused_data
    return bytes(found)
