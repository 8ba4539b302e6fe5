"""ICON-EU small enough for quick tests: the dataset's own region job over files of 4 degrees, and what they hold."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dataset_defs.dwd.icon_eu.forecast import DATASET, TEMPLATE
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.axes import AppendAxis, RegularAxis, lead_time
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import Array2D, Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar
from reformatters_dagster.sample_upstream.dwd import ICON_EU_FIELDS, icon_eu_globe, icon_eu_values
from reformatters_dagster.sample_upstream.weather import Field
from tests.datasets import Sample, Site
from tests.tiny import TinyTemplate

INIT = Timestamp("2026-07-29T18")
SOON = Timedelta("5h")
TEMPERATURE, GUST, LOW_CLOUD, SNOW = (
    "temperature_2m",
    "wind_gust_10m",
    "cloud_cover_low",
    "snow_water_equivalent_surface",
)
RAIN, SUN = "precipitation_surface", "downward_direct_short_wave_radiation_flux_surface"
ROWS = {row.name: row for row in TEMPLATE.data_vars}

GRID = LatLonGrid(
    latitude=RegularAxis(first=70.5, step=-4.0, size=11), longitude=RegularAxis(first=-23.5, step=4.0, size=22)
)
GLOBE = icon_eu_globe(GRID)
HOURLY_TO_4 = (lead_time(hourly_to="4h"),)


def icon_eu(
    folder: Path, *, variables: Iterable[str] | None = None, rows: Sequence[DataVar] = (), **changes: Any
) -> DynamicalDataset:
    """The dataset, beginning at `INIT`, on the small grid unless told otherwise. Its template is committed to `folder`."""
    fields: dict[str, Any] = {name: getattr(TEMPLATE, name) for name in TemplateConfig.model_fields}
    fields |= {"dataset_id": "test-icon-eu", "grid": GRID}
    fields |= {"append_dim": AppendAxis(name="init_time", start=INIT, frequency="6h")}
    fields["data_vars"] = tuple(rows) or tuple(ROWS[name] for name in variables or ROWS)
    fields |= changes
    (leads,) = fields["dims"]
    rows_, columns = fields["grid"].shape
    sizes = {"init_time": 1, "lead_time": len(leads.labels), "latitude": rows_, "longitude": columns}
    template = TinyTemplate(folder=folder / "templates", **(fields | {"chunks": sizes, "shards": sizes}))
    template.update_template()
    return DynamicalDataset(
        template_config=template,
        region_job=DATASET.region_job,
        archives=DATASET.archives,
        soft_deadline=DATASET.soft_deadline,
    )


def icon_eu_site(folder: Path, dataset: DynamicalDataset) -> Site:
    """A place for it, whose mirror is the folder's `upstream`."""
    return Site(folder, dataset, Sample(folder, folder))


def truth(variable: str, lead: int, before: int | None) -> Array2D:
    """What the store is to hold, from north to south, before packing and rounding; `before` is the previous lead time."""
    row = ROWS[variable]
    if row.deaccumulation is None:
        values = icon_eu_values(variable, INIT, lead, GLOBE) * row.scale_factor + row.add_offset
    elif before is None:
        values = np.full(GRID.shape, np.nan)
    else:
        values = icon_eu_values(variable, INIT, lead, GLOBE, since=before)
        if row.deaccumulation.kind == "accumulation":
            values = values / (3600 * (lead - before))
    southward: Array2D = values[::-1].astype(np.float32)
    return southward


def tolerance(variable: str, lead: int, before: int | None, wanted: Array2D) -> Field:
    """What packing, and the rounding of the mantissa, explain."""
    row = ROWS[variable]
    packing = ICON_EU_FIELDS[variable].resolution / 2 * 1.001 * row.scale_factor
    if row.deaccumulation is not None and before is not None:
        two_files = {"accumulation": 2 / 3600, "average": lead + before}[row.deaccumulation.kind]
        packing *= two_files / (lead - before)
    assert row.keep_mantissa_bits is not None
    rounding = 2.0 ** -(row.keep_mantissa_bits + 1) + 1e-6
    explained: Field = packing + (np.abs(wanted) + packing) * rounding
    return explained


def assert_icon_eu_true(ds: xr.Dataset, *, missing: Sequence[int] = ()) -> None:
    """Compare every variable at every lead time; at those missing there is no file, and nothing may be made from one."""
    leads = [round(lead / Timedelta("1h")) for lead in ds.indexes["lead_time"]]
    for variable in map(str, ds.data_vars):
        for before, lead in pairwise([None, *leads]):
            assert lead is not None
            wanted = truth(variable, lead, before)
            if lead in missing or (ROWS[variable].deaccumulation is not None and before in missing):
                wanted = np.full(GRID.shape, np.nan, np.float32)
            found = ds[variable].sel(init_time=INIT, lead_time=Timedelta(hours=lead)).to_numpy()
            np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted), err_msg=f"{variable} lead {lead}")
            excess = np.nan_to_num(np.abs(found - wanted) - tolerance(variable, lead, before, wanted)).max()
            assert excess <= 0, f"{variable} lead {lead} is {excess} further off than packing and rounding explain"
