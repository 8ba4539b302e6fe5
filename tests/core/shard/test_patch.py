"""A published shard that is continued is the one that zarr-python writes at once."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from reformatters_dagster.core.field.transforms import round_in_place
from reformatters_dagster.core.shard.patch import ShardLayout, patch_shard
from reformatters_dagster.core.shard.writer import continue_shards, write_shards
from reformatters_dagster.core.spec.errors import CorruptShard
from reformatters_dagster.core.spec.values import Float32Array

COMPRESSORS = [
    zarr.codecs.BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", typesize=4),
    zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=4),
]


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    seed=st.integers(0, 2**32 - 1),
    first=st.integers(0, 63),
    count=st.integers(1, 64),
    kind=st.sampled_from(["smooth", "noise", "nothing"]),
    compressor=st.sampled_from(COMPRESSORS),
)
def test_a_patched_shard_is_the_one_written_at_once(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    first: int,
    count: int,
    kind: str,
    compressor: zarr.codecs.BloscCodec,
) -> None:
    """Two chunks along the first axis, several blocks in each; the grid ends inside the last shard."""
    rng = np.random.default_rng(seed)
    shape, count = (64, 70, 75), min(count, 64 - first)
    before, after = tmp_path_factory.mktemp("before"), tmp_path_factory.mktemp("after")
    old = field(rng, kind, shape)
    new = old.copy()
    new[first : first + count] = field(rng, "smooth", (count, 70, 75))
    for folder, values in ((before, old), (after, new)):
        array(folder, shape, compressor)
        write_shards(values, folder, "v", slice(0, 64))
    cut = first + count // 2
    patch = [(start, np.ascontiguousarray(new[start:stop])) for start, stop in ((first, cut), (cut, first + count))]
    patched = tmp_path_factory.mktemp("patched")
    array(patched, shape, compressor)
    assert continue_shards(patch, lambda key: (before / key).read_bytes(), patched, "v", slice(0, 64)) == 4
    for y, x in product((0, 1), (0, 1)):
        key = f"v/c/0/{y}/{x}"
        assert (patched / key).read_bytes() == (after / key).read_bytes(), key


def field(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> Float32Array:
    if kind == "noise":
        return rng.integers(0, 2**31 - 2**24, shape).astype(np.int32).view(np.float32)
    values = np.cumsum(rng.normal(size=shape), axis=0).astype(np.float32)
    round_in_place(values, 7)
    if kind == "nothing":
        values[...] = np.nan
    return values


def array(folder: Path, shape: tuple[int, ...], compressor: zarr.codecs.BloscCodec) -> None:
    zarr.open_group(folder, mode="w").create_array(
        "v",
        shape=shape,
        dtype="float32",
        chunks=(32, 20, 20),
        shards=(64, 40, 40),
        compressors=[compressor],
        fill_value=np.float32("nan"),
    )


def test_other_codecs_are_continued_by_zarr(tmp_path: Path) -> None:
    values = np.arange(6 * 4 * 4, dtype=np.float32).reshape(6, 4, 4)
    for name in ("before", "after", "patched"):
        zarr.open_group(tmp_path / name, mode="w").create_array(
            "v", shape=(6, 4, 4), dtype="float32", chunks=(3, 2, 2), shards=(6, 4, 4), compressors=None, fill_value=0
        )
    assert ShardLayout.of(zarr.open_array(tmp_path / "after" / "v")) is None
    write_shards(np.where(np.arange(6)[:, None, None] < 4, values, 0), tmp_path / "before", "v", slice(0, 6))
    write_shards(values, tmp_path / "after", "v", slice(0, 6))
    before = tmp_path / "before"
    continue_shards([(4, values[4:])], lambda key: (before / key).read_bytes(), tmp_path / "patched", "v", slice(0, 6))
    assert (tmp_path / "patched/v/c/0/0/0").read_bytes() == (tmp_path / "after/v/c/0/0/0").read_bytes()


def test_a_shard_of_another_layout_is_refused(tmp_path: Path) -> None:
    array(tmp_path, (64, 40, 40), COMPRESSORS[0])
    write_shards(np.zeros((64, 40, 40), np.float32), tmp_path, "v", slice(0, 64))
    data = (tmp_path / "v/c/0/0/0").read_bytes()
    layout = ShardLayout.of(zarr.open_array(tmp_path / "v"))
    assert layout is not None
    patch = [(0, np.zeros((1, 40, 40), np.float32))]
    pieces = patch_shard(data, layout, patch, "v/c/0/0/0")
    assert pieces is not None
    assert b"".join(pieces) == data
    for damaged in (b"", data[:-1], data[:100] + data[-100:], bytes(len(data))):
        with pytest.raises(CorruptShard, match="v/c/0/0/0 was to be continued"):
            patch_shard(damaged, layout, patch, "v/c/0/0/0")
    flipped = bytearray(data)
    flipped[:40] = b"\xff" * 40
    with pytest.raises(CorruptShard, match="cannot be decompressed"):
        patch_shard(bytes(flipped), layout, patch, "v/c/0/0/0")


SIZE, BLOCK, HELD, FIRST_BLOCK = range(4, 20, 4)
"""Where c-blosc's header says how long a chunk is, how long its blocks, how many bytes hold it; and where the first block is."""


@pytest.mark.parametrize(
    ("at", "octets"),
    [
        (0, bytes(16)),
        (SIZE, bytes(4)),
        (SIZE, b"\xff\xff\xff\x7f"),
        (SIZE, (2 * 32 * 20 * 20 * 4).to_bytes(4, "little")),
        (BLOCK, bytes(4)),
        (BLOCK, b"\1\0\0\0"),
        (BLOCK, b"\xff\xff\xff\x7f"),
        (HELD, bytes(4)),
        (HELD, b"\xff\xff\xff\x7f"),
        (FIRST_BLOCK, bytes(4)),
        (FIRST_BLOCK, b"\xff\xff\xff\xff"),
        (FIRST_BLOCK, b"\xff\xff\xff\x7f"),
    ],
)
def test_a_chunk_whose_header_is_damaged_is_refused(tmp_path: Path, at: int, octets: bytes) -> None:
    """The patch lies between other blocks, which it does not touch."""
    array(
        tmp_path, (64, 40, 40), zarr.codecs.BloscCodec(typesize=4, cname="zstd", shuffle="bitshuffle", blocksize=4096)
    )
    write_shards(np.zeros((64, 40, 40), np.float32), tmp_path, "v", slice(0, 64))
    data = bytearray((tmp_path / "v/c/0/0/0").read_bytes())
    layout = ShardLayout.of(zarr.open_array(tmp_path / "v"))
    assert layout is not None
    data[at : at + len(octets)] = octets
    with pytest.raises(CorruptShard, match=r"v/c/0/0/0 was to be continued; a chunk of it cannot be decompressed"):
        patch_shard(bytes(data), layout, [(16, np.zeros((1, 40, 40), np.float32))], "v/c/0/0/0")
