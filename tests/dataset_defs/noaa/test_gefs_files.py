"""Names of GEFS files, the variables in them, and real messages on the template's grid."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pygrib
import pytest

from dataset_defs.noaa.gefs.analysis import DATASET as ANALYSIS
from dataset_defs.noaa.gefs.files import GefsFileCoord, GefsFileType, product_of
from dataset_defs.noaa.gefs.variables import GEFS_ANALYSIS_DATA_VARS, GEFS_FORECAST_DATA_VARS
from reformatters_dagster.core.grib.header import read_header
from reformatters_dagster.core.grib.identity import check_identity
from reformatters_dagster.core.source.files import Downloaded
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import GribField
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.sample_upstream import Encoder
from reformatters_dagster.sample_upstream.gefs import GEFS_FIELDS, GEFS_PROCESS, gefs_message, gefs_values

SOIL = "gefs/fsspec__kerchunk--gec00_20250101_00_soilw.grib"
MEMBER_8 = "gefs/nmangue__NGrib--gep08.t00z.pgrb2a.0p50.f012"
ENSEMBLE_MEAN = "gefs/naschidaniel__spatialMOS--GFSE_20210416_0000_avg_f006.grb2"
TEMPERATURE = next(row for row in GEFS_ANALYSIS_DATA_VARS if row.name == "temperature_2m")


def test_kinds_and_dates_are_those_of_the_catalogue(shared_data: Path) -> None:
    catalogue = json.loads((shared_data / "../reference/datasets.json").read_text())
    for dataset_id, rows in (
        ("noaa-gefs-analysis", GEFS_ANALYSIS_DATA_VARS),
        ("noaa-gefs-forecast-35-day", GEFS_FORECAST_DATA_VARS),
    ):
        public = catalogue[dataset_id]["data_vars"]
        assert {row.name for row in rows} == public.keys()
        for row in rows:
            source = public[row.name]["source"]
            assert row.gefs_file_type == source["gefs_file_type"], row.name
            since = source.get("available_from")
            assert row.available_from == (since and pd.Timestamp(since)), row.name
            # GDAL names the element of a total after the hours of its window; the index does not.
            assert source.get("include_lead_time_suffix", False) == (row.field.element == "APCP")


V12, B22 = "2020-09-23T12", "2022-10-18T12"


@pytest.mark.parametrize(
    ("file_type", "init", "lead", "kind"),
    [
        ("s+a", V12, 240, "s"),
        ("s+a", V12, 246, "a"),
        ("s+a", "2020-09-23T06", 6, "a"),
        ("s+b", V12, 240, "s"),
        ("s+b", V12, 246, "b"),
        ("s+b", "2020-09-23T06", 6, "b"),
        ("s+b-b22", "2022-10-18T06", 0, "b"),
        ("s+b-b22", B22, 240, "s"),
        ("s+b-b22", B22, 246, "b"),
        ("s+b-b22", "2020-01-01T00", 0, "b"),
        ("a", B22, 0, "a"),
        ("b", B22, 240, "b"),
    ],
)
def test_which_file_holds_a_variable(file_type: GefsFileType, init: str, lead: int, kind: str) -> None:
    assert product_of(TEMPERATURE, file_type, pd.Timestamp(init), Timedelta(hours=lead)) == kind


@pytest.mark.parametrize(
    ("variable", "stem"),
    [
        ("temperature_2m", "tmp_2m"),
        ("wind_u_10m", "ugrd_hgt"),
        ("wind_v_100m", "vgrd_hgt"),
        ("geopotential_height_500hpa", "hgt_pres_abv700mb"),
        ("geopotential_height_cloud_ceiling", "hgt_ceiling"),
        ("pressure_reduced_to_mean_sea_level", "pres_msl"),
        ("precipitation_surface", "apcp_sfc"),
        ("precipitable_water_atmosphere", "pwat_eatm"),
        ("total_cloud_cover_atmosphere", "tcdc_eatm"),
    ],
)
def test_which_file_of_the_reforecast_holds_a_variable(variable: str, stem: str) -> None:
    (row,) = (row for row in GEFS_ANALYSIS_DATA_VARS if row.name == variable)
    assert product_of(row, row.gefs_file_type, pd.Timestamp("2019-12-31"), Timedelta(hours=24)) == stem


@pytest.mark.parametrize(
    ("init", "lead", "member", "product", "url", "coarseness"),
    [
        (V12, 3, 0, "s", "noaa-gefs-pds/gefs.20200923/12/atmos/pgrb2sp25/gec00.t12z.pgrb2s.0p25.f003", 1),
        ("2026-07-29T00", 840, 30, "a", "noaa-gefs-pds/gefs.20260729/00/atmos/pgrb2ap5/gep30.t00z.pgrb2a.0p50.f840", 2),
        ("2026-07-29T00", 6, 1, "b", "noaa-gefs-pds/gefs.20260729/00/atmos/pgrb2bp5/gep01.t00z.pgrb2b.0p50.f006", 2),
        ("2020-09-23T06", 6, 0, "a", "noaa-gefs-pds/gefs.20200923/06/pgrb2a/gec00.t06z.pgrb2af06", 4),
        (
            "2019-12-31T00",
            24,
            0,
            "tmp_2m",
            "noaa-gefs-retrospective/GEFSv12/reforecast/2019/2019123100/c00/Days:1-10/tmp_2m_2019123100_c00.grib2",
            1,
        ),
        (
            "2000-01-01T00",
            3,
            0,
            "hgt_pres_abv700mb",
            "noaa-gefs-retrospective/GEFSv12/reforecast/2000/2000010100/c00/Days:1-10/hgt_pres_abv700mb_2000010100_c00.grib2",
            2,
        ),
    ],
)
def test_names_and_grids_by_era(init: str, lead: int, member: int, product: str, url: str, coarseness: int) -> None:
    coord = GefsFileCoord(
        init_time=pd.Timestamp(init), lead_time=Timedelta(hours=lead), ensemble_member=member, product=product
    )
    assert coord.get_url() == f"s3://{url}"
    assert coord.coarseness == coarseness
    assert list(coord.out_loc()) == ["init_time", "ensemble_member", "lead_time"]


# Real messages


def messages(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Each message of a file, with what another decoder found in it."""
    data = path.read_bytes()
    expected = json.loads(Path(f"{path}.expected.json").read_text())["messages"]
    return [(data[one["offset"] : one["offset"] + one["total_length"]], one) for one in expected]


def test_the_control_is_member_0_and_others_have_their_number(shared_data: Path) -> None:
    total = next(row for row in GEFS_FORECAST_DATA_VARS if row.name == "precipitation_surface").field
    soil = GribField(element="SOILW", level="0-0.1 m below ground", parameter=(2, 0, 192), surface=(106, 0.0))
    ((control, _),) = messages(shared_data / SOIL)
    rain = messages(shared_data / MEMBER_8)[1][0]

    def check(
        message: bytes, field: GribField, init: Timestamp, lead: int, window: int | None, member: int | None
    ) -> None:
        check_identity(
            read_header(message, "it"),
            field,
            init_time=init,
            lead_time=Timedelta(hours=lead),
            window=None if window is None else Timedelta(hours=window),
            member=member,
            where="it",
        )

    check(control, soil, pd.Timestamp("2025-01-01"), 3, None, 0)
    check(rain, total, pd.Timestamp("2020-08-25"), 12, 6, 8)
    with pytest.raises(CorruptMessage, match="member asked 1, found 0"):
        check(control, soil, pd.Timestamp("2025-01-01"), 3, None, 1)
    with pytest.raises(CorruptMessage, match="member asked 0, found 8"):
        check(rain, total, pd.Timestamp("2020-08-25"), 12, 6, 0)


@pytest.mark.parametrize("name", [SOIL, ENSEMBLE_MEAN], ids=["with a bit map", "without"])
def test_a_real_field_of_half_a_degree_on_the_template_s_grid(shared_data: Path, name: str, tmp_path: Path) -> None:
    ((message, expected),) = messages(shared_data / name)
    template = ANALYSIS.template_config
    context = ANALYSIS.context(ANALYSIS.workspace(Settings(store=str(tmp_path))), pd.Timestamp("2025-01-02"))
    template_ds = template.get_template(template.append_dim.start + template.append_dim.frequency)
    (job,) = ANALYSIS.region_job.get_jobs(context, template_ds, variables=["geopotential_height_500hpa"])
    coord = job.source_file_coord.model_validate(
        {"init_time": "2025-01-01", "lead_time": "3h", "ensemble_member": 0, "product": "a"}
    )
    path = tmp_path / "message"
    path.write_bytes(message)
    downloaded = Downloaded(path=path, archive="a", etag=None, spans={job.data_vars[0].name: (0, len(message))})
    field = job.read_data(coord, job.data_vars[0], downloaded)
    assert field.shape == (721, 1440)
    for point in expected["points"]:
        row, column = round((90 - point["lat"]) / 0.25), round((point["lon"] + 180) % 360 / 0.25)
        value = np.nan if point["value"] is None else point["value"]
        assert field[row, column] == pytest.approx(value, abs=1e-4, nan_ok=True)
    by_eccodes = np.ma.filled(pygrib.fromstring(message).values.astype(np.float32), np.nan)
    np.testing.assert_allclose(field[::2, ::2], np.roll(by_eccodes, 360, axis=1), atol=1e-4)
    between = (field[:-1:2, ::2] + field[2::2, ::2]) / 2
    np.testing.assert_allclose(field[1::2, ::2], between, atol=1e-4)
    fine = coord.model_copy(update={"product": "s"})
    with pytest.raises(CorruptMessage, match=r"has shape \(361, 720\), template expects \(721, 1440\)"):
        job.read_data(fine, job.data_vars[0], downloaded)


def test_sample_messages_are_headed_as_real_ones(shared_data: Path) -> None:
    """What the encoder writes of ensemble and process, against messages of the archive."""
    keys = (
        *(
            "centre",
            "subCentre",
            "tablesVersion",
            "localTablesVersion",
            "typeOfProcessedData",
            "typeOfGeneratingProcess",
        ),
        *(
            "generatingProcessIdentifier",
            "typeOfEnsembleForecast",
            "productDefinitionTemplateNumber",
            "shapeOfTheEarth",
        ),
        *("scanningMode", "resolutionAndComponentFlags", "packingType", "orderOfSpatialDifferencing"),
    )
    field = GEFS_FIELDS["temperature_2m"]
    values = gefs_values("temperature_2m", pd.Timestamp("2025-01-01"), 3, 15.0)
    with Encoder() as encoder:
        made = encoder.encode(gefs_message(field, pd.Timestamp("2025-01-01"), 3, 0, values))
        eighth = encoder.encode(
            gefs_message(GEFS_FIELDS["precipitation_surface"], pd.Timestamp("2020-08-25"), 12, 8, values, 6)
        )
    ((control, _),) = messages(shared_data / SOIL)
    ours, real = pygrib.fromstring(made), pygrib.fromstring(control)
    assert {key: ours[key] for key in keys} == {key: real[key] for key in keys}
    rain = messages(shared_data / MEMBER_8)[1][0]
    ours, real = pygrib.fromstring(eighth), pygrib.fromstring(rain)
    assert {key: ours[key] for key in keys[:10]} == {key: real[key] for key in keys[:10]}
    assert (ours.perturbationNumber, ours.stepRange) == (real.perturbationNumber, real.stepRange) == (8, "6-12")
    assert ours.generatingProcessIdentifier == GEFS_PROCESS
