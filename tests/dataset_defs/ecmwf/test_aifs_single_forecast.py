"""ECMWF AIFS-SINGLE forecast: from files to what a reader sees."""

from pathlib import Path

import pytest

from dataset_defs.ecmwf.aifs_single.forecast import DATASET
from reformatters_dagster import GribField
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.sample_upstream.weather import Field
from tests.dataset_defs.made_up import MadeUpSource

MESSAGES = {
    "temperature_2m": GribField(element="2t", level="sfc", parameter=(0, 0, 0), surface=(103, 2.0)),
    "precipitation_surface": GribField(
        element="tp", level="sfc", parameter=(0, 1, 8), surface=(1, None), statistic="acc"
    ),
}
"""What the source's messages say of themselves."""


def in_file(variable: str, init_time: Timestamp, values: Field) -> Field:
    """Values in the source's units, from those of the store: kelvin, and kg m-2 as totals."""
    return values + 273.15 if variable == "temperature_2m" else values


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> MadeUpSource:
    init_times = ("2026-07-29T12", "2026-07-30T00")
    return MadeUpSource.write(tmp_path_factory.mktemp("source"), DATASET, init_times, in_file, MESSAGES)


def test_a_reader_sees_what_the_files_hold(source: MadeUpSource, tmp_path: Path) -> None:
    source.assert_read(tmp_path)


def test_what_is_not_there_is_nan_and_known_to_be_missing(source: MadeUpSource, tmp_path: Path) -> None:
    source.assert_hole_is_told_of(tmp_path)
