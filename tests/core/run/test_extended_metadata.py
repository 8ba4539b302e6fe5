"""Labels that readers see before any run has written them: they are known, shown and healed."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dataset_defs.noaa.gfs.analysis import GfsAnalysisFileCoord, GfsAnalysisRegionJob
from reformatters_dagster.core.check.completeness import CheckCompleteness
from reformatters_dagster.core.check.validators import CheckResult
from reformatters_dagster.core.run.launches import Budget, is_whole, survey_incomplete
from reformatters_dagster.core.run.status import status
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar
from tests.datasets import IN_ORDER, INIT, RAIN, SECOND, TEMPERATURE, VARIABLES, WINDOWED, Site
from tests.launched import heals, launches, run
from tests.stores import Stopped

pytest_plugins = ["tests.datasets"]

HOUR = Timedelta("1h")
FIRST, LAST = INIT + 4 * HOUR, INIT + 5 * HOUR
"""Labels that no run has written of the first shard."""


@pytest.fixture
def published(analysis: Site) -> Site:
    """An analysis that is published up to the fourth label of its first shard of six."""
    site = analysis.having(give_up_age=Timedelta("2D"), soft_deadline=HOUR)
    site.update(INIT + 3 * HOUR)
    return site


def by_initialise(site: Site) -> None:
    site.dataset.initialise(site.workspace, INIT + 6 * HOUR, INIT + 3 * HOUR)


def by_a_backfill_that_was_killed(site: Site) -> None:
    """It had put its metadata, and written nothing else."""

    def kill(url: str, key: str) -> None:
        if key.startswith("lease/"):
            raise Stopped

    request = {"overwrite_chunks": True, "overwrite_metadata": True, "end": INIT + 6 * HOUR}
    with pytest.raises(Stopped):
        replace(site, before_put=kill).backfill(INIT + 6 * HOUR, **request)


def completeness(site: Site, now: Timestamp) -> CheckResult:
    (result,) = site.dataset.validate(site.stores.primary, now, [CheckCompleteness()], internal=site.stores.internal)
    return result


def empty_labels(site: Site) -> list[Timestamp]:
    found = site.read()[TEMPERATURE]
    return [label for label in found.indexes["time"] if np.isnan(found.sel(time=label)).all()]


@pytest.mark.parametrize("extend", [by_initialise, by_a_backfill_that_was_killed])
def test_labels_that_metadata_shows_before_a_run_writes_them_are_healed(
    published: Site, extend: Callable[[Site], None]
) -> None:
    site = published
    extend(site)
    now = INIT + 10 * HOUR
    assert empty_labels(site) == [FIRST, LAST]
    told = completeness(site, now)
    assert (told.passed, told.metadata["partitions_incomplete"]) == (False, 1)
    assert "2026-07-29T18:00 lacks 2 labels that readers see and no run has written;" in told.message
    assert all(launch.label == SECOND for launch in launches(site, now)), "the shard counts as published"
    (launch,) = heals(site, now)
    assert (launch.label, launch.request.publish, launch.request.keep_published) == (INIT, False, True)
    assert launch.reason == "files of published labels that no run has written: 2"
    run(site, launch, now)
    entry = site.ledger()
    assert entry is not None
    assert {coverage.through for coverage in entry.variables.values()} == {LAST}
    assert is_whole(site.dataset, entry, pd.DatetimeIndex(site.read().indexes["time"]))
    assert empty_labels(site) == []
    assert completeness(site, now).passed
    assert heals(site, now + HOUR) == []


def test_their_files_are_waited_for_until_the_give_up_age(published: Site) -> None:
    site = published
    site.remove(4, 5)
    by_initialise(site)
    now = INIT + 10 * HOUR
    assert heals(site, now) == []
    assert not completeness(site, now).passed
    assert completeness(site, FIRST + HOUR - Timedelta("1min")).passed, "none of them is due yet"
    old = LAST + site.dataset.give_up_age
    survey = survey_incomplete(site.dataset, site.workspace, old, Budget(20))
    assert (survey.launches, survey.given_up) == ([], [INIT])
    assert completeness(site, old).severity == "ERROR"
    assert survey_incomplete(site.dataset, site.workspace, old, Budget(20)).given_up == []


def test_a_label_that_is_not_there_yet_waits_without_a_run_for_each_look(published: Site) -> None:
    """The first run accounts for every label; those whose files are late are missing from then on."""
    site = published
    site.remove(5)
    by_initialise(site)
    now = INIT + 8 * HOUR
    run(site, heals(site, now)[0], now)
    assert empty_labels(site) == [LAST]
    assert heals(site, now + HOUR) == []
    site.arrive(INIT, leads=[5])
    (launch,) = heals(site, now + HOUR)
    assert launch.reason == "missing files that have arrived: 1"


def test_status_tells_of_them(published: Site) -> None:
    site = published
    assert status(site.dataset, site.stores).last_complete == "2026-07-29T18:00"
    by_initialise(site)
    report = status(site.dataset, site.stores)
    (partition,) = report.partitions
    (unwritten,) = partition.unwritten
    assert (unwritten.first, unwritten.last, unwritten.count) == (FIRST, LAST, 2)
    assert sorted(unwritten.variables) == list(IN_ORDER)
    assert report.last_complete is None
    assert {(found.written, found.complete) for found in report.coverage.values()} == {(1, 0)}


def test_one_variable_that_lacks_them_is_told_of_and_healed(published: Site) -> None:
    site = published
    by_initialise(site)
    now = INIT + 10 * HOUR
    site.backfill(now, contains=(INIT,), overwrite_chunks=True, variables=VARIABLES[:3])
    (partition,) = status(site.dataset, site.stores).partitions
    assert [one.variables for one in partition.unwritten] == [VARIABLES[3:]]
    (launch,) = heals(site, now + HOUR)
    run(site, launch, now + HOUR)
    entry = site.ledger()
    assert entry is not None
    assert is_whole(site.dataset, entry, pd.DatetimeIndex(site.read().indexes["time"]))


def test_what_was_missing_of_a_label_that_readers_see_by_now_is_healed(published: Site) -> None:
    """Its run could not publish the label; metadata shows it since."""
    site = published.having(publish_policy="all")
    index = site.file(4).with_name(f"{site.file(4).name}.idx")
    whole = index.read_text()
    index.write_text("".join(line for line in whole.splitlines(keepends=True) if ":APCP:" not in line))
    site.update(INIT + 4 * HOUR)
    assert site.read().indexes["time"][-1] == INIT + 3 * HOUR
    entry = site.ledger()
    assert entry is not None
    assert entry.variables[RAIN].missing
    index.write_text(whole)
    now = INIT + 10 * HOUR
    site.remove(5)
    assert heals(site, now) == [], "it is for an update"
    by_initialise(site)
    (launch,) = heals(site, now)
    assert launch.reason == "missing files that have arrived: 1"


def test_a_variable_that_wants_no_file_of_new_labels_lacks_none(analysis: Site) -> None:
    class Job(GfsAnalysisRegionJob):
        def generate_source_file_coords(
            self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]
        ) -> list[GfsAnalysisFileCoord]:
            found = super().generate_source_file_coords(region_ds, data_vars)
            return [] if data_vars[0].name in WINDOWED else list(found)

    site = analysis.having(region_job=Job, soft_deadline=HOUR)
    for hours in (3, 5):
        site.update(INIT + hours * HOUR)
    (partition,) = status(site.dataset, site.stores).partitions
    assert partition.unwritten == ()
    assert partition.complete == set(VARIABLES)
    now = INIT + 10 * HOUR
    assert heals(site, now) == []
    assert completeness(site, now).passed
