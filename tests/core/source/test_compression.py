import bz2
import gzip
import random
import time
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reformatters_dagster.core.source.compression import Compression, decompress
from reformatters_dagster.core.spec.errors import CorruptMessage

PACKERS: dict[Compression, Callable[[bytes], bytes]] = {"bz2": bz2.compress, "gzip": gzip.compress}
TEXT = b"GRIB, or something else" * 40

every_kind = pytest.mark.parametrize("kind", PACKERS)


@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=4), kind=st.sampled_from(sorted(PACKERS)))
def test_what_went_in_comes_out_from_one_stream_or_several(parts: list[bytes], kind: Compression) -> None:
    whole = b"".join(parts)
    packed = b"".join(map(PACKERS[kind], parts))
    assert decompress(packed, kind, most=len(whole), where="x") == whole


@given(data=st.binary(max_size=200), kind=st.sampled_from(sorted(PACKERS)))
def test_any_bytes_are_unpacked_or_refused(data: bytes, kind: Compression) -> None:
    with suppress(CorruptMessage):
        assert len(decompress(data, kind, most=100, where="x")) <= 100


@every_kind
def test_every_truncation_is_seen(kind: Compression) -> None:
    packed = PACKERS[kind](TEXT)
    for length in range(1, len(packed)):
        with pytest.raises(
            CorruptMessage, match=rf"^x: its {length} bytes of {kind} end before the {kind} stream does"
        ):
            decompress(packed[:length], kind, most=len(TEXT), where="x")


@every_kind
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda _: b"", r"^x is empty; its upload may have only begun, try later$"),
        (lambda _: b"<html>throttled</html>", r"^x was to be .*; of its 22 bytes those from 0 on, b'<htm', are not \("),
        (
            lambda packed: packed + b"<html>",
            r"of its \d+ bytes those from \d+ on, b'<htm', are not \(.*\); fetch it again$",
        ),
        (lambda packed: packed[:40] + b"\0" * 8 + packed[48:], r"are not \(.*\); fetch it again$"),
    ],
    ids=["empty", "page", "page behind", "damaged"],
)
def test_what_is_wrong_is_said(kind: Compression, spoil: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(CorruptMessage, match=message) as caught:
        decompress(spoil(PACKERS[kind](TEXT)), kind, most=10_000, where="x")
    assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, OSError | zlib.error)


@every_kind
@pytest.mark.parametrize("streams", [1, 4])
def test_a_bomb_is_not_unpacked(kind: Compression, streams: int) -> None:
    bomb = PACKERS[kind](bytes(40_000_000 // streams)) * streams
    assert len(bomb) < 50_000
    tracemalloc.start()
    try:
        with pytest.raises(CorruptMessage, match=rf"^x: {len(bomb)} bytes of {kind} hold more than the 100000 that"):
            decompress(bomb, kind, most=100_000, where="x")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@every_kind
def test_exactly_as_much_as_may_be_is_unpacked(kind: Compression) -> None:
    assert decompress(PACKERS[kind](TEXT), kind, most=len(TEXT), where="x") == TEXT
    with pytest.raises(CorruptMessage, match="hold more than the 919 that one field on the template's grid can take"):
        decompress(PACKERS[kind](TEXT), kind, most=len(TEXT) - 1, where="x")


@every_kind
def test_streams_cost_no_more_than_their_bytes(kind: Compression) -> None:
    """Two million bytes of empty streams took 8 seconds."""
    empty = PACKERS[kind](b"")
    many = empty * (4_000_000 // len(empty))
    began = time.process_time()
    with pytest.raises(
        CorruptMessage, match=rf"^x: its {len(many)} bytes of {kind} are more than 1000 streams; the file"
    ):
        decompress(many, kind, most=10_000, where="x")
    assert time.process_time() - began < 1


@every_kind
def test_as_many_streams_as_may_be_are_read(kind: Compression) -> None:
    assert decompress(PACKERS[kind](b"") * 999 + PACKERS[kind](TEXT), kind, most=len(TEXT), where="x") == TEXT


@every_kind
def test_streams_longer_than_a_piece_are_read(kind: Compression) -> None:
    noise = random.Random(5).randbytes(300_000)
    packed = PACKERS[kind](noise)
    assert decompress(packed + PACKERS[kind](TEXT) + packed, kind, most=700_000, where="x") == noise + TEXT + noise
    with pytest.raises(CorruptMessage, match=rf"those from {len(packed)} on, b'<htm', are not"):
        decompress(packed + b"<html>", kind, most=700_000, where="x")
