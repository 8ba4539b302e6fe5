"""Operational updates, from upstream files to what readers see."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dataset_defs.noaa.gfs.analysis import GfsAnalysisRegionJob
from reformatters_dagster.core.source.files import Downloaded
from reformatters_dagster.core.spec.errors import (
    NothingSucceeded,
    Retraction,
    SourceFileMissing,
    SourceFileUnavailable,
)
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from tests.core.run.sites import chunks, ingested, init_times, metadata
from tests.datasets import (
    INIT,
    LEADS,
    SECOND,
    SOON,
    TEMPERATURE,
    THIRD,
    Site,
    assert_forecast_true,
)

pytest_plugins = ["tests.datasets"]

HOUR = Timedelta("1h")


def test_a_first_update_without_files_makes_nothing(pair: Site) -> None:
    report = pair.update()
    assert list(report.failures) == [INIT]
    assert pair.objects() == {}


def test_an_update_redoes_the_tail_and_appends_what_is_new(published: Site) -> None:
    published.arrive(SECOND, THIRD)
    report = published.update(THIRD + SOON)
    assert report.partitions == [INIT, SECOND, THIRD]
    assert [commit.labels for commit in report.commits] == [1, 2, 3]
    ds = published.read()
    for init in (INIT, SECOND, THIRD):
        assert_forecast_true(ds, init)
    assert ingested(published) == [9 * HOUR] * 3
    assert published.tmp_files() == []


def test_an_update_without_anything_new_changes_nothing(published: Site) -> None:
    """The next init time is due, and not there yet."""
    before = metadata(published) | chunks(published)
    report = published.update(SECOND + HOUR)
    assert report.partitions == [INIT, SECOND]
    assert list(report.failures) == [SECOND]
    assert metadata(published) | chunks(published) == before


def test_the_first_update_makes_the_store_up_to_the_first_init_time_that_is_not_there(pair: Site) -> None:
    pair.arrive(INIT, THIRD)
    report = pair.update(THIRD + SOON)
    assert report.partitions == [INIT, SECOND, THIRD]
    assert list(report.failures) == [SECOND]
    assert init_times(pair) == [INIT]
    assert_forecast_true(pair.read(), INIT)


def test_an_init_time_that_a_backfill_found_empty_is_waited_for(pair: Site) -> None:
    """A new store reaches up to now; what has only begun is not an outage of what was there."""
    pair.arrive(INIT)
    report = pair.backfill(SECOND + SOON)
    assert list(report.failures) == [SECOND]
    report = pair.update(SECOND + SOON)
    assert list(report.failures) == [SECOND]
    pair.arrive(SECOND)
    assert pair.update(SECOND + SOON).failures == {}
    assert_forecast_true(pair.read(), SECOND)


def test_a_total_outage_leaves_every_byte(published: Site) -> None:
    before = published.objects()
    published.remove(*LEADS)
    with pytest.raises(
        NothingSucceeded, match="wanted 19 fields of 2 variables; none succeeded, nothing was published"
    ):
        published.update(SECOND + SOON)
    assert published.objects() == before
    assert published.tmp_files() == []


def test_a_missing_file_heals_when_it_arrives(pair: Site) -> None:
    pair.arrive(INIT)
    pair.remove(3)
    pair.update()
    assert pair.read()[TEMPERATURE].sel(lead_time=3 * HOUR).isnull().all()
    entry = pair.ledger()
    assert entry is not None
    assert not entry.is_complete
    pair.arrive(INIT, leads=[3])
    pair.update()
    assert_forecast_true(pair.read(), INIT)
    entry = pair.ledger()
    assert entry is not None
    assert entry.is_complete
    assert ingested(pair) == [9 * HOUR]


def test_an_analysis_grows_within_its_shard_and_beyond(hourly: Site) -> None:
    def times(count: int) -> list[Timestamp]:
        return list(pd.date_range(INIT, periods=count, freq="1h"))

    hourly.update(INIT + 2 * HOUR)
    assert list(hourly.read().indexes["time"]) == times(3)
    first = chunks(hourly)
    hourly.update(INIT + 7 * HOUR)
    ds = hourly.read()
    assert list(ds.indexes["time"]) == times(8)
    assert ds.isel(time=slice(1, None)).notnull().all().to_array().all()
    assert {key.split("/c/")[1].split("/")[0] for key in chunks(hourly)} == {"0", "1"}
    assert all(chunks(hourly)[key] != data for key, data in first.items())


def test_an_analysis_stops_where_a_shard_has_no_end_yet(hourly: Site) -> None:
    """Hours 4 and 5 of a shard are not there, the next shard is: publishing that one would leave a hole."""
    for lead in (4, 5):
        hourly.file(lead).unlink()
    report = hourly.update(SECOND + 2 * HOUR)
    assert report.partitions == [INIT, SECOND]
    assert [commit.labels for commit in report.commits] == [4]
    assert hourly.read().indexes["time"][-1] == INIT + 3 * HOUR
    hourly.arrive(INIT, leads=[4, 5])
    hourly.update(SECOND + 2 * HOUR)
    assert hourly.read().sizes["time"] == 9


def test_an_end_that_nobody_makes_any_more_is_passed_after_the_give_up_age(hourly: Site) -> None:
    for lead in (4, 5):
        hourly.file(lead).unlink()
    patient = hourly.having(give_up_age=Timedelta("3h"))
    report = patient.update(SECOND + 1 * HOUR)  # the last hour that lacks a file is 2 h old
    assert [commit.labels for commit in report.commits] == [4]
    report = patient.update(SECOND + 2 * HOUR)
    assert [commit.labels for commit in report.commits] == [6, 9]
    assert report.commits[0].entry.known_missing
    ds = patient.read()
    assert list(ds.indexes["time"]) == list(pd.date_range(INIT, SECOND + 2 * HOUR, freq="h"))
    assert ds[TEMPERATURE].isel(time=[4, 5]).isnull().all()
    assert ds[TEMPERATURE].isel(time=[3, 6, 7, 8]).notnull().all()


def test_an_end_that_archives_merely_refuse_is_not_passed(hourly: Site) -> None:
    """What was had is published all the same, and the update ends well."""
    for lead in (4, 5):
        hourly.file(lead).unlink()

    class Throttled(GfsAnalysisRegionJob):
        def download_file(self, coord: Any, data_vars: Any, folder: Path) -> Downloaded:
            try:
                return super().download_file(coord, data_vars, folder)
            except SourceFileMissing as error:
                raise SourceFileUnavailable(str(error)) from error

    patient = hourly.having(give_up_age=Timedelta("3h"), region_job=Throttled)
    report = patient.update(SECOND + 2 * HOUR)
    assert [commit.labels for commit in report.commits] == [4]
    assert not report.commits[0].entry.known_missing
    assert patient.read().sizes["time"] == 4


def test_published_labels_are_never_withdrawn(hourly: Site) -> None:
    """What the ledger knows is not read again; where it is lost, all is, and the metadata stays where it was."""
    hourly.update(INIT + 4 * HOUR)
    before = metadata(hourly)
    for lead in (3, 4):
        hourly.file(lead).unlink()
    hourly.update(INIT + 4 * HOUR)
    assert metadata(hourly) == before
    assert hourly.read()[TEMPERATURE].isel(time=4).notnull().all()
    (ledger,) = (hourly.folder / "primary").rglob("ledger/*.json")
    ledger.unlink()
    with pytest.raises(Retraction, match="was to be published with 3 labels of time; the store publishes 5"):
        hourly.update(INIT + 4 * HOUR)
    assert metadata(hourly) == before
