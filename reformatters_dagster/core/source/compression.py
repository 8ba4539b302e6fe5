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
    def decompress(self, data: memoryview, max_length: int, /) -> bytes: ...


_GZIP_HEADER = 16 + zlib.MAX_WBITS
_STREAMS: Mapping[Compression, Callable[[], _Stream]] = {
    "bz2": bz2.BZ2Decompressor,
    "gzip": lambda: zlib.decompressobj(_GZIP_HEADER),
}


_PIECE = 64 * 1024
_MOST_STREAMS = 1000
"""Parallel packers cut a file every 100 to 900 kB."""


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
        When the file is empty, has another format, is damaged, ends early, holds more than `most` bytes, or is cut into more
        streams than any packer makes.
    """
    if not data:
        raise CorruptMessage(f"{where} is empty; its upload may have only begun, try later")
    found = bytearray()
    begin = streams = 0
    while begin < len(data):
        streams += 1
        if streams > _MOST_STREAMS:
            raise CorruptMessage(
                f"{where}: its {len(data)} bytes of {kind} are more than {_MOST_STREAMS} streams; the file is damaged"
            )
        try:
            begin = _read_stream(_STREAMS[kind](), memoryview(data), begin, found, most)
        except (OSError, zlib.error) as error:
            raise CorruptMessage(
                f"{where} was to be {kind}; of its {len(data)} bytes those from {begin} on, {data[begin : begin + 4]!r}, are not "
                f"({error}); fetch it again"
            ) from error
        except EOFError as error:
            raise CorruptMessage(
                f"{where}: its {len(data)} bytes of {kind} end before the {kind} stream does, after {len(found)} bytes came out; "
                "fetch it again"
            ) from error
        if len(found) > most:
            raise CorruptMessage(
                f"{where}: {len(data)} bytes of {kind} hold more than the {most} that one field on the template's grid can take; "
                "the file is damaged, or holds something else"
            )
    return bytes(found)


def _read_stream(stream: _Stream, data: memoryview, begin: int, found: bytearray, most: int) -> int:
    """Unpack one stream, or as much of it as exceeds `most`; return the byte after it.

    A decompressor copies what follows its stream, so it is never given more than a piece.
    """
    while begin < len(data):
        piece = data[begin : begin + _PIECE]
        found += stream.decompress(piece, most + 1 - len(found))
        begin += len(piece)
        if stream.eof:
            return begin - len(stream.unused_data)
        if len(found) > most:
            return begin
    raise EOFError
