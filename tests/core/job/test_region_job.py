"""A region job from files to chunks: true values and honest results."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pandas as pd
import pytest
import xarray as xr

from dataset_defs.noaa.gfs.forecast import GfsForecastRegionJob, GfsSourceFileCoord
from reformatters_dagster.core.job.positions import labels_text
from reformatters_dagster.core.ledger.entries import LedgerEntry, MissingFile, VariableCoverage
from reformatters_dagster.core.source.files import SourceFileStatus
from reformatters_dagster.core.spec.errors import TemplateDrift
from reformatters_dagster.core.spec.values import MOMENT
from reformatters_dagster.core.spec.variables import DataVar
from reformatters_dagster.core.store.initialise import create_store
from tests.datasets import (
    IN_ORDER,
    INIT,
    INSTANT,
    LEADS,
    PRIMARY,
    RAIN,
    SUN,
    TEMPERATURE,
    VARIABLES,
    WIND,
    Site,
    assert_forecast_true,
    assert_true,
    gfs_key,
)
from tests.processed import ALL_SUCCEEDED, BAD, HOUR, chunk_keys, jobs_of, of_lead, processed, statuses
from tests.spoilt_files import rewrite_index

pytest_plugins = ["tests.datasets"]


def test_values_are_the_true_ones(site: Site) -> None:
    site.arrive(INIT)
    results, ds = processed(site, site.job())
    assert_forecast_true(ds, INIT)
    assert list(site.tmp.iterdir()) == []
    assert list(results) == list(IN_ORDER)
    assert statuses(results) == ALL_SUCCEEDED
    assert {name: len(files) for name, files in results.items()} == {RAIN: 9, SUN: 9, TEMPERATURE: 10, WIND: 10}


def test_results_tell_where_each_file_came_from(site: Site) -> None:
    site.arrive(INIT)
    file = of_lead(site.job(variables=[WIND]).process()[WIND], BAD)
    lines = (site.file(BAD).parent / f"{site.file(BAD).name}.idx").read_text().splitlines()
    starts = {line.split(":")[3]: int(line.split(":")[1]) for line in reversed(lines)}
    assert file.coord == GfsSourceFileCoord(init_time=INIT, lead_time=BAD * HOUR)
    assert file.archive == PRIMARY
    assert file.bytes == starts["APCP"] - starts["UGRD"]
    assert file.etag is not None
    assert f"{site.file(BAD).stat().st_size:x}" in file.etag
    assert file.reason is None


def test_a_rate_needs_the_total_of_the_hour_before(site: Site) -> None:
    """A missing total blanks its own hour and the next one; the first after a reset stands by itself."""
    site.arrive(INIT)
    site.remove(BAD, 6)
    _, ds = processed(site, site.job())
    for lead in LEADS:
        field = ds[RAIN].sel(init_time=INIT, lead_time=lead * HOUR)
        if lead in {BAD, BAD + 1, 6}:
            assert field.isnull().all()
        else:
            assert_true(field, RAIN, INIT, lead)


class BeyondJob(GfsForecastRegionJob):
    """A job that wants a file of a lead time that its template does not have."""

    def generate_source_file_coords(
        self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]
    ) -> list[GfsSourceFileCoord]:
        *others, last = super().generate_source_file_coords(region_ds, data_vars)
        return [*others, last.model_copy(update={"lead_time": 999 * HOUR})]


def test_a_file_of_a_label_that_the_template_lacks_is_refused(site: Site) -> None:
    site.arrive(INIT)
    beyond = replace(site, dataset=replace(site.dataset, region_job=BeyondJob))
    with pytest.raises(
        TemplateDrift,
        match=r"f999 was to be read at lead_time 41 days 15:00:00; the template has no such label: correct `generate_source",
    ):
        beyond.job().process()


def forget_sunshine(site: Site) -> None:
    for lead in LEADS[1:]:
        rewrite_index(site.file(lead), lambda lines: [line for line in lines if "DSWRF" not in line[2]])


def test_a_variable_without_success_uploads_nothing(site: Site) -> None:
    site.arrive(INIT)
    forget_sunshine(site)
    results, ds = processed(site, site.job())
    assert {result.status for result in results[SUN]} == {SourceFileStatus.DOWNLOAD_FAILED}
    assert all("does not have DSWRF:surface:0-" in str(result.reason) for result in results[SUN][:6])
    assert not [key for key in chunk_keys(site) if key.startswith(SUN)]
    assert_forecast_true(ds, INIT, variables=[TEMPERATURE, WIND, RAIN])


def test_a_variable_the_source_does_not_have_yet_is_written_as_nan(site: Site) -> None:
    """No file is wanted, so none is missing; readers and checks find the shard."""

    class WithoutWind(GfsForecastRegionJob):
        def generate_source_file_coords(
            self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]
        ) -> list[GfsSourceFileCoord]:
            return [] if data_vars[0].name == WIND else super().generate_source_file_coords(region_ds, data_vars)

        @classmethod
        def source_groups(cls, data_vars: Sequence[DataVar]) -> list[tuple[DataVar, ...]]:
            return [(data_var,) for data_var in data_vars]

    site.arrive(INIT)
    without = site.having(region_job=WithoutWind)
    without.backfill()
    known = without.ledger()
    assert known is not None
    assert (known.variables[WIND].expected, known.variables[WIND].succeeded) == (0, 0)
    assert known.is_complete
    assert len([key for key in site.objects() if f"/{WIND}/c/" in key]) == 2
    assert site.read()[WIND].isnull().all()
    assert_forecast_true(site.read(), INIT, variables=[TEMPERATURE, RAIN, SUN])


def entry_with(variables: dict[str, VariableCoverage]) -> LedgerEntry:
    """The entry of a partition of which some variable was made from each file."""
    return LedgerEntry(
        partition="2026-07-29T18:00",
        dataset_id="test-gfs-forecast",
        version="0.1.0",
        region=(INIT, INIT),
        variables=variables,
        etags={gfs_key(INIT, lead): "" for lead in LEADS},
        extent=(INIT, INIT),
        template_hash="",
        code_version="",
        run_id="before",
        written_at=INIT,
    )


def test_a_shard_made_from_a_file_that_fails_now_is_kept_unless_forced(site: Site) -> None:
    """However many other files there are by now: of rain another one was missing."""
    site.arrive(INIT)
    site.job().process()
    before = site.objects()
    site.remove(BAD)

    def made_from(expected: int, *missing: int) -> VariableCoverage:
        coords = [GfsSourceFileCoord(init_time=INIT, lead_time=lead * HOUR) for lead in missing]
        files = [MissingFile(file=one.key(), labels=labels_text(one), reason="late", label=INIT) for one in coords]
        return VariableCoverage(
            expected=expected, succeeded=expected - len(missing), missing=tuple(files), through=INIT
        )

    full = {TEMPERATURE: made_from(10), WIND: made_from(10, BAD), RAIN: made_from(9, 4), SUN: made_from(9, BAD, 4)}

    job = site.job(entry=entry_with(full))
    results = job.process()
    assert job.stats.kept == [RAIN, TEMPERATURE]
    assert {name for name, files in results.items() if not of_lead(files, BAD).succeeded} == set(VARIABLES)
    changed = {key.split(".zarr/")[1].split("/")[0] for key, data in site.objects().items() if before[key] != data}
    assert changed == {WIND, SUN}

    forced = site.job(entry=entry_with(full), force=True)
    forced.process()
    assert forced.stats.kept == []
    changed = {key.split(".zarr/")[1].split("/")[0] for key, data in site.objects().items() if before[key] != data}
    assert changed == set(VARIABLES)


def test_shards_made_one_by_one_are_as_if_made_at_once(analysis: Site) -> None:
    """The hour before a shard is read along, so that a rate at its first hour is right; what comes of it is left out."""
    times = pd.date_range(INIT, periods=18, freq="1h", unit="us")
    create_store(analysis.dataset.template_config, analysis.workspace, times[-1] + MOMENT)
    for job in reversed(jobs_of(analysis, times[-1])):
        results = job.process()
        assert [file.coord.out_loc()["time"] for file in results[RAIN]] == list(times[job.region])
        assert statuses(results) == ALL_SUCCEEDED
    ds = analysis.read()
    for variable, hour in product(VARIABLES, times):
        init = hour.floor("6h") if variable in INSTANT else hour.ceil("6h") - 6 * HOUR
        if variable != RAIN or hour != INIT:
            assert_true(ds[variable].sel(time=hour), variable, init, (hour - init) // HOUR)
    assert ds[RAIN].sel(time=INIT).isnull().all()
