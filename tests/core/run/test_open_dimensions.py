"""A dataset with a dimension that core has never heard of, from its template to what a reader sees."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from reformatters_dagster import (
    AppendAxis,
    DataVar,
    Dimension,
    DynamicalDataset,
    ForecastFileCoord,
    ForecastRegionJob,
    GribField,
    LatLonGrid,
    OutLoc,
    RegularAxis,
    SourceArchive,
    WholeFileGribRegionJob,
    lead_time,
    whole_hours,
)
from reformatters_dagster.core.run.backfill import BackfillRequest, backfill
from reformatters_dagster.core.spec.template_files import differing_files
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.sample_upstream.encoder import Encoder
from reformatters_dagster.sample_upstream.gfs import GFS_FIELDS, gfs_message
from reformatters_dagster.sample_upstream.weather import Field
from tests.tiny import TinyTemplate, tiny_template

ARCHIVE = SourceArchive(url="https://example.org/levels", folder="example.org/levels")
INIT = pd.Timestamp("2026-07-29T12").as_unit("us")
HOURS, LEVELS = (0, 1, 2), (500, 850)
TEMPERATURE = DataVar(
    name="temperature",
    long_name="Temperature",
    short_name="t",
    standard_name="air_temperature",
    units="K",
    step_type="instant",
    field=GribField(element="TMP", level="", parameter=(0, 0, 0), surface=(100, None)),
    keep_mantissa_bits=None,
)
LEVEL = Dimension(
    name="pressure_level",
    labels=LEVELS,
    attrs=(("long_name", "Pressure level"), ("standard_name", "air_pressure"), ("units", "hPa")),
)


class LevelFileCoord(ForecastFileCoord):
    """One level at one lead time."""

    pressure_level: float

    def key(self) -> str:
        return f"{self.init_time:%Y%m%d%H}/{self.pressure_level:g}_f{whole_hours(self.lead_time):03d}.grib2"

    def get_url(self) -> str:
        return f"{ARCHIVE.url}/{self.key()}"

    def out_loc(self) -> OutLoc:
        return {**super().out_loc(), "pressure_level": self.pressure_level}


class LevelRegionJob(ForecastRegionJob[LevelFileCoord], WholeFileGribRegionJob[LevelFileCoord]):
    source_file_coord = LevelFileCoord

    def field_at(self, coord: LevelFileCoord, data_var: DataVar) -> GribField:
        return data_var.field.model_copy(update={"surface": (100, coord.pressure_level * 100)})


@pytest.fixture
def template(tmp_path: Path) -> TinyTemplate:
    made = tiny_template(
        tmp_path / "templates",
        dataset_id="levels-forecast",
        append_dim=AppendAxis(name="init_time", start=INIT, frequency="12h"),
        dims=(lead_time(hourly_to="2h"), LEVEL),
        grid=LatLonGrid(
            latitude=RegularAxis(first=90.0, step=-10.0, size=19), longitude=RegularAxis(first=0.0, step=10.0, size=36)
        ),
        chunks={"init_time": 1, "lead_time": 3, "pressure_level": 1, "latitude": 19, "longitude": 36},
        shards={"init_time": 1, "lead_time": 3, "pressure_level": 2, "latitude": 19, "longitude": 36},
        data_vars=(TEMPERATURE,),
    )
    made.update_template()
    return made


def in_file(level: float, hour: int) -> Field:
    return np.linspace(200 + level / 10 + hour, 260 + level / 10 + hour, 19 * 36).reshape(19, 36)


def write_files(upstream: Path, *, without: tuple[int, int] | None = None, named: dict[int, int] | None = None) -> None:
    """All files of an init time but one; under the name of a level the message of another, where told."""
    with Encoder() as encoder:
        for hour in HOURS:
            for level in LEVELS:
                if (level, hour) == without:
                    continue
                inside = (named or {}).get(level, level)
                sample = GFS_FIELDS["temperature_2m"]
                field = sample.field.model_copy(update={"surface": (100, inside * 100.0)})
                message = gfs_message(sample.model_copy(update={"field": field}), INIT, hour, in_file(inside, hour))
                coord = LevelFileCoord(init_time=INIT, lead_time=pd.Timedelta(hours=hour), pressure_level=level)
                path = upstream / ARCHIVE.folder / coord.key()
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encoder.encode(message))


def filled(template: TinyTemplate, folder: Path) -> tuple[xr.Dataset, Any]:
    dataset = DynamicalDataset(template_config=template, region_job=LevelRegionJob, archives=(ARCHIVE,))
    settings = Settings(store=str(folder / "stores"), upstream=str(folder / "upstream"), tmp=str(folder / "tmp"))
    workspace = dataset.workspace(settings)
    request = BackfillRequest(start=INIT, end=INIT + pd.Timedelta("12h"))
    (commit,) = backfill(dataset, workspace, request, run_id="backfill", now=INIT + pd.Timedelta("6h")).commits
    published: xr.Dataset = xr.open_zarr(workspace.stores.primary.url, chunks=None, decode_timedelta=True).load()
    return published, commit.entry


def test_levels_reach_readers(template: TinyTemplate, tmp_path: Path) -> None:
    write_files(tmp_path / "upstream")
    ds, entry = filled(template, tmp_path)
    assert entry.is_complete
    assert ds["temperature"].dims == ("init_time", "lead_time", "pressure_level", "latitude", "longitude")
    assert list(ds.indexes["pressure_level"]) == [500.0, 850.0]
    assert ds["pressure_level"].attrs["units"] == "hPa"
    for hour in HOURS:
        for level in LEVELS:
            found = ds["temperature"].sel(init_time=INIT, lead_time=pd.Timedelta(hours=hour), pressure_level=level)
            np.testing.assert_allclose(found, in_file(level, hour), atol=0.06)
    assert ds["ingested_forecast_length"].item() == pd.Timedelta("2h").to_timedelta64()


def test_a_lead_time_that_lacks_a_level_is_not_ingested(template: TinyTemplate, tmp_path: Path) -> None:
    write_files(tmp_path / "upstream", without=(850, 2))
    ds, entry = filled(template, tmp_path)
    (missing,) = entry.variables["temperature"].missing
    assert missing.file == "2026072912/850_f002.grib2"
    assert "pressure_level=850.0" in missing.labels
    assert ds["ingested_forecast_length"].item() == pd.Timedelta("1h").to_timedelta64()


def test_nothing_is_ingested_where_a_level_is_missing_at_the_first_lead_time(
    template: TinyTemplate, tmp_path: Path
) -> None:
    write_files(tmp_path / "upstream", without=(850, 0))
    ds, entry = filled(template, tmp_path)
    assert [one.file for one in entry.variables["temperature"].missing] == ["2026072912/850_f000.grib2"]
    assert np.isnat(ds["ingested_forecast_length"].to_numpy()).all()


def test_the_message_of_another_level_is_refused(template: TinyTemplate, tmp_path: Path) -> None:
    write_files(tmp_path / "upstream", named={850: 500})
    _, entry = filled(template, tmp_path)
    assert {one.file.partition("/")[2][:3] for one in entry.variables["temperature"].missing} == {"850"}


def test_the_template_is_written_the_same_again(template: TinyTemplate, tmp_path: Path) -> None:
    template.write_template(tmp_path / "latest.zarr")
    assert differing_files(template.path, tmp_path / "latest.zarr") == []
