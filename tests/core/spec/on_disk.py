"""Templates and stores on local disk, looked at with other means than those that wrote them."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from reformatters_dagster.core.spec.template_files import write_metadata
from tests.tiny import TinyTemplate

START = pd.Timestamp("2024-02-28T00")
END = pd.Timestamp("2024-03-01T07")
NEVER = Path("never-written")


def committed(template: TinyTemplate) -> TinyTemplate:
    template.update_template()
    return template


def opened(path: Path, *, consolidated: bool = True) -> xr.Dataset:
    ds: xr.Dataset = xr.open_zarr(path, chunks=None, decode_timedelta=True, consolidated=consolidated)
    return ds


def written(ds: xr.Dataset, folder: Path) -> Path:
    path = folder / "written-tmp.zarr"
    write_metadata(ds, path)
    return path


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "zarr.json").read_text())
    return found


def chunk_files(path: Path) -> set[str]:
    return {
        file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file() and file.name != "zarr.json"
    }


SIZES = {"init_time": 2, "lead_time": 4, "latitude": 4, "longitude": 4}
