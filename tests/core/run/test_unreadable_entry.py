"""A ledger entry that cannot be read costs no published value, and is told of."""

from pathlib import Path

import pandas as pd
import pytest

from reformatters_dagster.core.check.completeness import CheckCompleteness
from reformatters_dagster.core.run.launches import is_whole
from reformatters_dagster.core.run.plan import PartitionRequest, plan_partition
from reformatters_dagster.core.run.status import status
from reformatters_dagster.core.spec.errors import NothingSucceeded, StoreExists
from reformatters_dagster.core.spec.values import Timedelta
from tests.core.run.sites import ingested
from tests.datasets import (
    INIT,
    LEADS,
    RAIN,
    SECOND,
    SOON,
    SUN,
    TEMPERATURE,
    VARIABLES,
    Sample,
    Site,
    assert_forecast_true,
    gfs_forecast,
)
from tests.launched import launches, run
from tests.long_shards import HOUR, LAST, chunks, drop, make

pytest_plugins = ["tests.datasets"]

KNOWN = INIT + 12 * HOUR


@pytest.fixture
def growing(tmp_path: Path, gfs_sample: Sample) -> Site:
    """An analysis in shards of many labels, published to `KNOWN`, whose entry is damaged."""
    made = make(tmp_path / "site", gfs_sample)
    made.update(KNOWN)
    damage(made)
    return made


@pytest.fixture
def at_once(tmp_path: Path, gfs_sample: Sample) -> dict[str, bytes]:
    made = make(tmp_path / "at-once", gfs_sample)
    made.update(LAST)
    return chunks(made)


@pytest.fixture
def published(site: Site) -> Site:
    """A forecast whose entry is damaged."""
    site.arrive(INIT)
    site.update()
    damage(site)
    return site


def damage(site: Site) -> None:
    (entry,) = (site.folder / "primary").rglob("ledger/*.json")
    entry.write_bytes(entry.read_bytes()[:-20])


def empty_fields(site: Site) -> set[tuple[str, pd.Timestamp]]:
    """Variable and label of each field in which readers see nothing but NaN."""
    ds = site.read()
    return {
        (name, label)
        for name in VARIABLES
        for label in ds.indexes["time"]
        if bool(ds[name].sel(time=label).isnull().all())
    }


# What was published stays


def test_files_that_left_a_rolling_archive_take_no_value_with_them(growing: Site, at_once: dict[str, bytes]) -> None:
    before = growing.read()
    data = {lead: growing.file(lead).read_bytes() for lead in (1, 2)}
    growing.remove(1, 2)
    for now in (LAST, LAST + HOUR):
        growing.update(now)
        seen = growing.read().sel(time=before.indexes["time"])
        assert seen.identical(before)
    entry = growing.ledger()
    assert entry is not None
    assert not entry.is_complete
    reason = "LedgerUnreadable: the ledger entry could not be read; the published shard may hold this file"
    for name in VARIABLES:
        told = {one.label: one.reason for one in entry.variables[name].missing}
        assert told.keys() >= set(before.indexes["time"])
        assert all(told[label] == reason for label in before.indexes["time"] if label > INIT)
    for lead, one in data.items():
        growing.file(lead).write_bytes(one)
    growing.update(LAST)
    entry = growing.ledger()
    assert entry is not None
    assert is_whole(growing.dataset, entry)
    assert chunks(growing) == at_once


def test_the_update_that_a_sensor_launches_takes_no_value(growing: Site) -> None:
    before = empty_fields(growing)
    growing.remove(1, 2)
    (launch,) = launches(growing, LAST)
    run(growing, launch, LAST)
    assert {one for one in empty_fields(growing) if one[1] <= KNOWN} == before


def test_a_forced_run_replaces_shards_and_entry(growing: Site) -> None:
    growing.remove(3)
    growing.backfill(LAST, overwrite_chunks=True, force=True)
    entry = growing.ledger()
    assert entry is not None
    assert {one.label for one in entry.variables[TEMPERATURE].missing} == {INIT + 3 * HOUR}
    assert not any(one.may_be_held for one in entry.missing_files)
    assert (TEMPERATURE, INIT + 3 * HOUR) in empty_fields(growing)


def test_a_variable_whose_files_are_all_there_is_made_anew(growing: Site) -> None:
    """The others wait, and are told of by the next runs too."""
    drop(growing, "DSWRF", 3)
    growing.update(LAST)
    entry = growing.ledger()
    assert entry is not None
    assert {name for name, known in entry.variables.items() if not known.is_complete} == {SUN}
    assert not any(label > KNOWN for name, label in empty_fields(growing) if name != SUN)
    assert not any(INIT < label <= KNOWN for _, label in empty_fields(growing))


def test_variables_that_did_not_run_stay_in_doubt(growing: Site) -> None:
    growing.backfill(LAST, overwrite_chunks=True, variables=(TEMPERATURE,))
    entry = growing.ledger()
    assert entry is not None
    assert {name for name, known in entry.variables.items() if known.is_complete} == {TEMPERATURE}
    before = empty_fields(growing)
    growing.remove(1, 2)
    growing.update(KNOWN)
    assert empty_fields(growing) == before


def test_a_forecast_keeps_its_values_and_its_length(tmp_path: Path, gfs_sample: Sample) -> None:
    site = Site(tmp_path, gfs_forecast(tmp_path / "templates", variables=[TEMPERATURE, RAIN]), gfs_sample)
    site.arrive(INIT)
    site.update()
    damage(site)
    site.remove(4)
    report = site.backfill(overwrite_chunks=True)
    assert report.commits[0].stats.kept == [RAIN, TEMPERATURE]
    assert_forecast_true(site.read(), INIT)
    assert ingested(site) == [9 * HOUR]


def test_an_outage_is_told_of_as_one(published: Site) -> None:
    published.remove(*LEADS)
    with pytest.raises(NothingSucceeded, match="none succeeded"):
        published.update(SECOND)
    report = published.backfill(overwrite_chunks=True)
    assert list(report.failures) == [INIT]
    assert_forecast_true(published.read(), INIT)


# It is told of


def test_a_run_that_may_not_overwrite_is_refused(published: Site) -> None:
    request = PartitionRequest(label=INIT, publish=False, overwrite_chunks=False)
    with pytest.raises(StoreExists, match="the ledger says it was written before"):
        plan_partition(published.dataset, published.workspace, request, INIT + SOON)


def test_status_and_checks_say_that_it_cannot_be_read(published: Site) -> None:
    (told,) = status(published.dataset, published.stores).partitions
    assert told.entry is None
    assert told.unreadable.startswith("the ledger entry of partition '2026-07-29T18:00' was asked for; ")
    (check,) = published.dataset.validate(
        published.stores.primary, INIT + Timedelta("10h"), [CheckCompleteness()], internal=published.stores.internal
    )
    assert not check.passed
    assert "2026-07-29T18:00 has a ledger entry that cannot be read" in check.message
