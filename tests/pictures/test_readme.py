"""The first plot of README.md: its code, run on a small store, writes the pictures that it names."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from markdown_it import MarkdownIt

from tests.pictures.pixels import pixels

ROOT = Path(__file__).parents[2]
STORE = "data/demo/stores/noaa-gfs-demo/v0.1.0.zarr"


def test_the_first_plot_is_saved_to_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dims = ("init_time", "lead_time", "latitude", "longitude")
    axes: dict[str, Any] = {
        "init_time": pd.date_range("2026-07-29", periods=2, freq="6h"),
        "lead_time": pd.timedelta_range("0h", periods=7, freq="h"),
        "latitude": np.arange(90, -91, -1.5),
        "longitude": np.arange(-180, 180, 1.5),
    }
    values = np.full([len(axis) for axis in axes.values()], 12, np.float32)
    field = xr.DataArray(values, axes, dims, attrs={"units": "degree_Celsius", "long_name": "2 metre temperature"})
    xr.Dataset({"temperature_2m": field}).to_zarr(tmp_path / STORE, consolidated=False)
    blocks = [token.content for token in MarkdownIt().parse((ROOT / "README.md").read_text()) if token.info == "python"]
    (block,) = [block for block in blocks if "draw_field" in block]
    exec(compile(block.replace(f'"{STORE}"', f'"{STORE}", consolidated=False'), "README.md", "exec"), {})
    assert pixels(Path("temperature.png").read_bytes()).shape[1] == 1000
    assert pixels(Path("berlin.png").read_bytes()).shape[1] == 900


def test_the_pictures_that_it_shows_are_there() -> None:
    for name in ("docs/forecast.png", "docs/meteogram.png"):
        assert name in (ROOT / "README.md").read_text()
        assert pixels((ROOT / name).read_bytes()).shape[1] >= 900
