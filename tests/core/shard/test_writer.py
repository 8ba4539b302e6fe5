"""Shards are the same whichever codec pipeline of zarr-python writes them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from reformatters_dagster.core.shard.writer import write_shards
from reformatters_dagster.core.spec.values import Float32Array

CODECS = [
    zarr.codecs.BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", typesize=4),
    zarr.codecs.BloscCodec(cname="zstd", clevel=1, shuffle="shuffle", typesize=4),
    zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="noshuffle", typesize=4),
]


def create(folder: Path, shape: tuple[int, ...], chunk: tuple[int, ...], counts: tuple[int, ...], codec: int) -> None:
    zarr.open_group(folder, mode="w").create_array(
        "v",
        shape=shape,
        dtype="float32",
        chunks=chunk,
        shards=tuple(length * count for length, count in zip(chunk, counts, strict=True)),
        compressors=[CODECS[codec]],
        fill_value=np.nan,
    )


def objects(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted((folder / "v" / "c").rglob("*"))
        if path.is_file()
    }


def assert_all_write_the_same(
    folder: Path, values: Float32Array, chunk: tuple[int, ...], counts: tuple[int, ...], codec: int
) -> None:
    for name in ("each has a thread", "shared out", "at once"):
        create(folder / name, values.shape, chunk, counts, codec)
    region = slice(0, chunk[0] * counts[0])
    write_shards(values, folder / "each has a thread", "v", region, threads=1)
    write_shards(values, folder / "shared out", "v", region, threads=99)
    zarr.open_array(folder / "at once" / "v", mode="r+", config={"write_empty_chunks": True})[:] = values
    wanted = objects(folder / "at once")
    assert objects(folder / "each has a thread") == wanted
    assert objects(folder / "shared out") == wanted
    np.testing.assert_array_equal(zarr.open_array(folder / "at once" / "v", mode="r")[:], values)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_both_pipelines_write_the_same_bytes(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    dimensions = data.draw(st.integers(2, 4), "dimensions")
    chunk = tuple(data.draw(st.integers(1, 5), "chunk") for _ in range(dimensions))
    counts = tuple(data.draw(st.integers(1, 5), "chunks in a shard") for _ in range(dimensions))
    shards = (1, *(data.draw(st.integers(1, 2), "shards") for _ in range(dimensions - 1)))
    whole = [length * count * number for length, count, number in zip(chunk, counts, shards, strict=True)]
    shape = tuple(data.draw(st.integers(1, size), "size") for size in whole)
    rng = np.random.default_rng(data.draw(st.integers(0, 9), "seed"))
    values = np.where(rng.random(shape) < 0.2, np.nan, rng.normal(size=shape).round(1)).astype(np.float32)
    folder = tmp_path_factory.mktemp("shards")
    assert_all_write_the_same(folder, values, chunk, counts, data.draw(st.integers(0, 2), "codec"))


def test_large_chunks(tmp_path: Path) -> None:
    """Several blosc blocks each, at the edges of the grid too."""
    steps, rows, columns = np.ogrid[0:30, 0:230, 0:470]
    values = (np.sin(rows / 40) * np.cos(columns / 60) * 20 + steps).astype(np.float32)
    assert_all_write_the_same(tmp_path, values, (20, 121, 121), (2, 1, 2), 0)


def test_writers_at_the_same_time_leave_the_codec_pipeline_as_it_was(tmp_path: Path) -> None:
    before = zarr.config.get("codec_pipeline.path")
    create(tmp_path, (2, 4, 4), (2, 2, 2), (1, 1, 1), 0)

    def write(_: int) -> None:
        write_shards(np.zeros((2, 4, 4), np.float32), tmp_path, "v", slice(0, 2), threads=2)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(40)))
    assert zarr.config.get("codec_pipeline.path") == before
