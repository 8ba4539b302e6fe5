"""ECMWF AIFS Single forecast: from files to what a reader sees, on both sides of version 1."""

from pathlib import Path

import pandas as pd
import pytest

from dataset_defs.ecmwf.aifs_single.forecast import DATASET, V1, FileCoord
from dataset_defs.ecmwf.fields import ecmwf_field
from dataset_defs.ecmwf.ifs_ens.forecast import DATASET as IFS
from reformatters_dagster import GribField
from reformatters_dagster.core.job.grib_job import GribRegionJob
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.sample_upstream.weather import Field
from tests.dataset_defs.contract import job_at
from tests.dataset_defs.made_up import MadeUpSource
from tests.dataset_defs.real_message import assert_real_message

MESSAGES = {
    "geopotential_height_500hpa": GribField(element="z", level="pl 500", parameter=(0, 3, 4), surface=(100, 50_000.0)),
    "precipitation_surface": GribField(
        element="tp", level="sfc", parameter=(0, 1, 193), surface=(1, None), statistic="acc"
    ),
    "total_cloud_cover_atmosphere": GribField(element="tcc", level="sfc", parameter=(0, 6, 1), surface=(1, None)),
}
"""What the source's messages say of themselves."""
ORIGIN = 98, 4
"""Centre and generating process, as the real message has them."""
PROCESS_OCTET = 14
"""Of section 4."""
AIFS = "ecmwf/mpiannucci__gribberish--aifs-single-t500.grib2"


def in_file(variable: str, init_time: Timestamp, values: Field) -> Field:
    """Values in the source's units, from those of the store: kelvin, m2 s-2, and totals in m before version 1."""
    if "temperature" in variable:
        return values + 273.15
    if "geopotential" in variable:
        return values * 9.80665
    return values / 1000 if variable == "precipitation_surface" and init_time < V1 else values


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> MadeUpSource:
    """The last init time before version 1, and the first with it: other files, more variables, other units."""
    init_times = ("2025-02-24T00", "2025-02-24T06")
    return MadeUpSource.write(tmp_path_factory.mktemp("source"), DATASET, init_times, in_file, MESSAGES, origin=ORIGIN)


def test_a_reader_sees_what_the_files_hold(source: MadeUpSource, tmp_path: Path) -> None:
    source.assert_read(tmp_path)


def test_what_is_not_there_is_nan_and_known_to_be_missing(source: MadeUpSource, tmp_path: Path) -> None:
    source.assert_hole_is_told_of(tmp_path)


@pytest.mark.parametrize(
    ("init_time", "folder"),
    [
        ("2025-02-24T00", "20250224/00z/aifs/0p25/oper"),
        ("2025-02-24T06", "20250224/06z/aifs-single/0p25/experimental/oper"),
        ("2025-02-25T00", "20250225/00z/aifs-single/0p25/experimental/oper"),
        ("2025-02-25T06", "20250225/06z/aifs-single/0p25/oper"),
    ],
)
def test_files_moved_twice(init_time: str, folder: str) -> None:
    coord = FileCoord(init_time=pd.Timestamp(init_time), lead_time=pd.Timedelta("6h"))
    assert coord.key().rpartition("/")[0] == folder


def test_a_real_message_is_what_its_row_says(shared_data: Path, tmp_path: Path) -> None:
    """One of another level than the dataset has: no other is at hand."""
    row = DATASET.template_config.variables["temperature_850hpa"].model_copy(update={"field": ecmwf_field("t", 500)})
    assert_real_message(DATASET, row, shared_data / AIFS, tmp_path, shortName="t")


@pytest.mark.parametrize(
    ("dataset", "process", "says"),
    [
        (DATASET, 158, r"another message: generating process asked range\(1, 100\), found 158;"),
        (IFS, 4, r"another message: .*generating process asked range\(100, 255\), found 4;"),
    ],
)
def test_a_message_of_the_other_model_is_refused(
    dataset: DynamicalDataset, process: int, says: str, shared_data: Path, tmp_path: Path
) -> None:
    """The real message, or the same with the process that IFS messages of its day have."""
    row = dataset.template_config.variables["temperature_850hpa"].model_copy(update={"field": ecmwf_field("t", 500)})
    message = bytearray((shared_data / AIFS).read_bytes())
    product = message.index(b"\0\0\0\x22\4")
    assert message[product + PROCESS_OCTET - 1] == ORIGIN[1]
    message[product + PROCESS_OCTET - 1] = process
    job = job_at(dataset, pd.Timestamp("2026-03-10T12").floor(dataset.template_config.append_dim.frequency), tmp_path)
    assert isinstance(job, GribRegionJob)
    of_member = {"ensemble_member": 0} if dataset is IFS else {}
    coord = job.source_file_coord.model_validate(
        {"init_time": pd.Timestamp("2026-03-10T12"), "lead_time": pd.Timedelta(0), **of_member}
    )
    with pytest.raises(CorruptMessage, match=says):
        job.verify(bytes(message), coord, row, AIFS)
