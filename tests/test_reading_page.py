"""The code of docs/reading.md does what the page says of it: on a folder, a bucket, over HTTP, and while a shard is rewritten."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from markdown_it import MarkdownIt
from obstore.exceptions import NotSupportedError

from dataset_defs import DATASETS
from tests import reading_costs
from tests.stores import S3Bucket
from tests.torn_shards import SHARD, updates_within_reads, values_before_and_after, write_one_shard

pytest_plugins = ["tests.stores"]

PAGE = Path(__file__).parents[1] / "docs/reading.md"
BEFORE, AFTER = values_before_and_after()
TAIL = slice(45, 60)
BLOCKS = [token.content for token in MarkdownIt().parse(PAGE.read_text()) if token.info == "python"]
STORE = "data/demo/stores/noaa-gfs-demo/v0.1.0.zarr"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    paused: list[float] = []
    monkeypatch.setattr(time, "sleep", paused.append)
    return paused


@pytest.fixture
def page(tmp_path: Path, pauses: list[float]) -> dict[str, Callable[..., xr.DataArray]]:
    """The functions of the page."""
    names: dict[str, Any] = {}
    for block in BLOCKS:
        if "def " in block:
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


def write_forecast(folder: Path) -> None:
    dims = ("init_time", "lead_time", "latitude", "longitude")
    axes: dict[str, Any] = {
        "init_time": pd.date_range("2026-07-29", periods=2, freq="6h"),
        "lead_time": pd.timedelta_range("0h", periods=31, freq="h"),
        "latitude": np.arange(90, -91, -1.5),
        "longitude": np.arange(-180, 180, 1.5),
    }
    shape = [len(axis) for axis in axes.values()]
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    lengths = pd.to_timedelta([30, 12], unit="h")
    encoding = {"temperature_2m": {"chunks": (1, 31, 61, 60), "shards": (1, 31, 122, 240)}}
    xr.Dataset({"temperature_2m": (dims, values), "ingested_forecast_length": ("init_time", lengths)}, axes).to_zarr(
        folder, zarr_format=3, consolidated=False, encoding=encoding
    )
    zarr.consolidate_metadata(folder)


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_points_series_and_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    """Every block of the page, in its order, on a store where the page has it."""
    monkeypatch.chdir(tmp_path)
    write_forecast(tmp_path / STORE)
    names: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["meteogram"].sizes == {"lead_time": 31}
    assert names["tomorrow"]["lead_time"] == pd.Timedelta("24h")
    assert names["tomorrow"].latitude.values.tolist() == sorted(np.arange(34.5, 72.1, 1.5).tolist(), reverse=True)
    assert names["said"]["valid_time"].max() == pd.Timestamp("2026-07-30T12")
    assert names["complete"] == pd.Timedelta("12h")
    assert names["newest"].sizes["lead_time"] == 31


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_a_bucket_and_a_web_server_with_ranges_are_read_and_one_without_is_told(
    tmp_path: Path, s3: S3Bucket, page: dict[str, Callable[..., Any]]
) -> None:
    write_forecast(tmp_path / "store")
    name, client = s3.url.removeprefix("s3://"), boto3.client("s3", endpoint_url=s3.server.endpoint)
    for file in filter(Path.is_file, (tmp_path / "store").rglob("*")):
        client.put_object(
            Bucket=name, Key=file.relative_to(tmp_path).as_posix(), Body=file.read_bytes(), ACL="public-read"
        )
    wanted = xr.open_zarr(tmp_path / "store", chunks=None, decode_timedelta=True)
    inside = {"client_options": {"allow_http": True}}
    place = {"init_time": 0, "latitude": 3, "longitude": 3}
    for url in (f"{s3.url}/store", f"{s3.server.endpoint}/{name}/store"):
        found = page["open_store"](url, **inside)
        assert (
            found["temperature_2m"]
            .isel(init_time=0, lead_time=3)
            .equals(wanted["temperature_2m"].isel(init_time=0, lead_time=3))
        )
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(WithoutRanges, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        found = page["open_store"](f"http://127.0.0.1:{server.server_port}/store", **inside)
        with pytest.raises(NotSupportedError, match="Range request not supported"):
            found["temperature_2m"].isel(place).load()
        server.shutdown()


class WithoutRanges(SimpleHTTPRequestHandler):
    """What `python -m http.server` runs."""

    def log_message(self, *_: object) -> None:
        pass

    def copyfile(self, source: Any, outputfile: Any) -> None:
        with suppress(OSError):  # the reader hangs up
            super().copyfile(source, outputfile)


def test_the_table_of_costs_is_that_of_the_templates() -> None:
    assert PAGE.read_text() == reading_costs.page(), "run: uv run python -m tests.reading_costs"


def test_the_page_tells_how_far_values_are_rounded() -> None:
    """Of every variable of every dataset, in percent of the value."""
    said = {"wind_": "0.8", "pressure_": "0.05", "geopotential_height_": "0.05", "": "0.4"}
    assert all(f"{percent} %" in PAGE.read_text() for percent in said.values())
    for data_var in (one for dataset in DATASETS for one in dataset.template_config.data_vars):
        kind = next(kind for kind in said if data_var.name.startswith(kind))
        if data_var.keep_mantissa_bits is not None and data_var.name != "geopotential_height_cloud_ceiling":
            assert 100 * 2.0 ** -(data_var.keep_mantissa_bits + 1) <= float(said[kind]), data_var.name
