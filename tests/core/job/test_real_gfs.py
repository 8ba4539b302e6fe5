"""A real file of the archive, through the real dataset: what readers get is what another decoder found in it."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pygrib
import pytest
import xarray as xr

from dataset_defs.noaa.gfs.forecast import DATASET
from reformatters_dagster.core.run.backfill import BackfillRequest, backfill
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.outcomes import RunReport
from reformatters_dagster.core.spec.values import MOMENT, Float32Array
from reformatters_dagster.core.store.settings import Settings, Workspace

INIT = pd.Timestamp("2026-07-29T18").as_unit("us")
VARIABLE = "temperature_2m"
KEPT_BITS = 7
KELVIN = 273.15
KEY = "noaa-gfs-bdp-pds/gfs.20260729/18/atmos/gfs.t18z.pgrb2.0p25.f000"
NOW = INIT + pd.Timedelta("5h")
INDEX = "1:0:d=2026072918:TMP:2 m above ground:anl:\n"
CROP_INDEX = """\
1:0:d=2026072918:TMP:surface:anl:
2:2071:d=2026072918:TMP:2 m above ground:anl:
3:3931:d=2026072918:LAND:surface:anl:
"""
SAMPLES = "gfs/FahrenheitResearch__arwen"
REAL, SOIL = f"{SAMPLES}--s3-raw-tmp2m-20260729t18z-f000.grib2", f"{SAMPLES}--s3-raw-soilw-20260729t18z-f000.grib2"
CROP = f"{SAMPLES}--nomads-crop-20260729t18z-f000.grib2"
HEAD_ALONE = "corrupt/rouault__gdal--blend.t17z.master.f001.co.grib2.head"
TWO_EDITIONS = "corrupt/rouault__gdal--broken_combined_grib2_grib1.grb2"


def mirrored(folder: Path, message: Path, index: str = INDEX) -> tuple[DynamicalDataset, Workspace]:
    """The archive from this init time on, over a mirror of one file."""
    upstream = folder / "upstream" / KEY
    upstream.parent.mkdir(parents=True)
    shutil.copyfile(message, upstream)
    Path(f"{upstream}.idx").write_text(index)
    settings = Settings(
        store=str(folder / "stores"), upstream=str(folder / "upstream"), tmp=str(folder / "tmp"), start=INIT
    )
    return DATASET.started_by(settings), DATASET.started_by(settings).workspace(settings)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> tuple[RunReport, xr.DataArray]:
    dataset, workspace = mirrored(tmp_path_factory.mktemp("real"), shared_data / REAL)
    report = backfill(dataset, workspace, BackfillRequest(variables=(VARIABLE,)), run_id="real", now=NOW)
    assert list(workspace.tmp.iterdir()) == []
    published = xr.open_zarr(workspace.stores.primary.url, chunks=None, decode_timedelta=True)
    return report, published[VARIABLE].sel(init_time=INIT).isel(lead_time=slice(0, 2)).load()


def message_of(shared_data: Path) -> tuple[dict[str, Any], Float32Array]:
    """What ecCodes says of the message, and its field in the order of the file, which that vouches for."""
    path = shared_data / REAL
    (expected,) = json.loads(Path(f"{path}.expected.json").read_text())["messages"]
    field = np.asarray(pygrib.fromstring(path.read_bytes()).values, dtype="<f4")
    assert hashlib.md5(field.tobytes()).hexdigest() == expected["md5_float32_le_missing_nan"]
    return expected, field


def test_every_point_another_decoder_names(real: tuple[RunReport, xr.DataArray], shared_data: Path) -> None:
    expected, _ = message_of(shared_data)
    assert len(expected["points"]) == 4
    for point in expected["points"]:
        longitude = (point["lon"] + 180) % 360 - 180
        found = float(real[1].isel(lead_time=0).sel(latitude=point["lat"], longitude=longitude))
        celsius = point["value"] - KELVIN
        assert found == pytest.approx(celsius, rel=2.0 ** -(KEPT_BITS + 1))


def test_the_whole_field(real: tuple[RunReport, xr.DataArray], shared_data: Path) -> None:
    _, kelvin = message_of(shared_data)
    celsius = np.roll(kelvin.astype(np.float64) - KELVIN, 720, axis=1)
    found = real[1].isel(lead_time=0)
    assert (float(found.latitude[0]), float(found.longitude[0])) == (90.0, -180.0)
    np.testing.assert_allclose(found.to_numpy(), celsius, rtol=2.0 ** -(KEPT_BITS + 1), atol=1e-5)
    bits = found.to_numpy().view(np.uint32)
    assert not (bits & np.uint32((1 << (23 - KEPT_BITS)) - 1)).any()


def test_hours_without_a_file_are_nan_and_accounted_for(
    real: tuple[RunReport, xr.DataArray], shared_data: Path
) -> None:
    report, field = real
    assert field.isel(lead_time=1).isnull().all()
    (commit,) = report.commits
    known = commit.entry.variables[VARIABLE]
    assert (known.expected, known.succeeded) == (209, 1)
    assert known.complete_through == {str(INIT): 0.0}
    first = commit.results[VARIABLE][0]
    assert first.bytes == (shared_data / REAL).stat().st_size
    assert commit.stats.objects_out == 2


@pytest.mark.parametrize(
    ("message", "index", "reason"),
    [
        (SOIL, INDEX, r"is another message: parameter asked \(0, 0, 0\), found \(2, 0, 192\); surface asked \(103, 2"),
        (CROP, CROP_INDEX, r"has shape \(41, 41\), template expects \(721, 1440\); check the grid in the file's name"),
        (CROP, INDEX, r"the message declares 2071 bytes, 4321 are here; the index does not fit the file"),
        (HEAD_ALONE, INDEX, r"the message declares \d+ bytes, 2000 are here"),
        (TWO_EDITIONS, INDEX, r"the message declares 5359 bytes, 55056 are here"),
    ],
    ids=["another field", "another grid", "another index", "a head alone", "two editions"],
)
def test_other_real_bytes_are_not_published(
    tmp_path: Path, shared_data: Path, message: str, index: str, reason: str
) -> None:
    dataset, workspace = mirrored(tmp_path, shared_data / message, index)
    template_ds = dataset.template_config.get_template(INIT + MOMENT)
    (job,) = dataset.region_job.get_jobs(dataset.context(workspace, NOW), template_ds, variables=[VARIABLE])
    first, *others = job.process()[VARIABLE]
    assert first.coord.key() in KEY
    assert re.search(reason, str(first.reason)), first.reason
    assert not any(file.succeeded for file in (first, *others))
    assert workspace.stores.primary.list() == []
