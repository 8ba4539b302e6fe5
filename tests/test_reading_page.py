"""The code of docs/reading.md does what the page says of it, while a shard is rewritten."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from markdown_it import MarkdownIt

from tests.torn_shards import SHARD, updates_within_reads, values_before_and_after, write_one_shard

PAGE = Path(__file__).parents[1] / "docs/reading.md"
BEFORE, AFTER = values_before_and_after()
TAIL = slice(45, 60)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    paused: list[float] = []
    monkeypatch.setattr(time, "sleep", paused.append)
    return paused


@pytest.fixture
def page(tmp_path: Path, pauses: list[float]) -> dict[str, Callable[..., xr.DataArray]]:
    """The functions of the page; its example of a store is left out, as the demo alone makes that store."""
    blocks = [token.content for token in MarkdownIt().parse(PAGE.read_text()) if token.info == "python"]
    example = next(block for block in blocks if "data/demo" in block)
    names: dict[str, Any] = {}
    for block in blocks:
        if block != example:
            exec(compile(block, str(PAGE), "exec"), names)
    for name, values in {"old": BEFORE, "new": AFTER}.items():
        write_one_shard(tmp_path / name, values)
    return names


def tail_of(folder: Path) -> xr.DataArray:
    opened: xr.Dataset = xr.open_zarr(folder, chunks=None, consolidated=False)
    return opened["temperature_2m"].isel(time=TAIL)


def test_the_read_that_is_repeated(
    tmp_path: Path, page: dict[str, Callable[..., xr.DataArray]], pauses: list[float]
) -> None:
    with updates_within_reads(tmp_path / "old", (tmp_path / "new" / SHARD).read_bytes()):
        found = page["load_again"](tail_of(tmp_path / "old"))
    np.testing.assert_array_equal(found.to_numpy(), AFTER[TAIL])
    assert pauses == [0.5]


def test_an_error_that_stays_is_raised(
    tmp_path: Path, page: dict[str, Callable[..., xr.DataArray]], pauses: list[float]
) -> None:
    path = tmp_path / "old" / SHARD
    path.write_bytes(b"\xff" * (path.stat().st_size - 200) + path.read_bytes()[-200:])
    with pytest.raises(RuntimeError, match="blosc"):
        page["load_again"](tail_of(tmp_path / "old"))
    assert sum(pauses) <= 8


def test_a_mixed_read_is_not_taken(tmp_path: Path, page: dict[str, Callable[..., xr.DataArray]]) -> None:
    after = tail_of(tmp_path / "new").compute()
    mixed = after.where(after["time"] < after["time"][5])
    reads = iter([mixed, after, after])
    page["load_again"] = lambda _: next(reads)
    assert page["load_unmixed"](tail_of(tmp_path / "old")).identical(after)


def test_what_always_changes_is_told_of(tmp_path: Path, page: dict[str, Callable[..., xr.DataArray]]) -> None:
    old, count = tail_of(tmp_path / "old"), iter(range(100))
    page["load_again"] = lambda array: array.compute() + next(count)
    with pytest.raises(TimeoutError, match="temperature_2m changed during each of 5 reads"):
        page["load_unmixed"](old)
