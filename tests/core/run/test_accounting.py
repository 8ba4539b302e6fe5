"""What a run's results say of a partition, joined with what was known."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dataset_defs.noaa.gfs.forecast import GfsSourceFileCoord
from reformatters_dagster.core.job.context import JobStats
from reformatters_dagster.core.ledger.entries import LedgerEntry, VariableCoverage, previous_entry, write_ledger
from reformatters_dagster.core.run.accounting import account_for, ingested_lengths, template_hash
from reformatters_dagster.core.source.files import FileResult, Results, SourceFileStatus
from reformatters_dagster.core.spec.axes import ensemble_member, lead_time
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timedelta
from tests.datasets import INIT, LEADS, RAIN, SECOND, SOON, SUN, TEMPERATURE, VARIABLES, WIND, WINDOWED, Site, gfs_key
from tests.tiny import tiny_template

pytest_plugins = ["tests.datasets"]

NONE = frozenset(LEADS)


def results(missing: Mapping[str, set[int] | frozenset[int]], reason: str = "SourceFileMissing: gone") -> Results:
    """Of the named variables, every lead but the missing ones."""

    def result(lead: int, lacks: bool) -> FileResult:
        coord = GfsSourceFileCoord(init_time=INIT, lead_time=Timedelta(hours=lead))
        if lacks:
            return FileResult(coord=coord).advance(SourceFileStatus.DOWNLOAD_FAILED, reason)
        return FileResult(coord=coord, etag=f'"{lead}"').advance(SourceFileStatus.SUCCEEDED)

    def leads(name: str) -> range:
        return LEADS[1:] if name in WINDOWED else LEADS

    return {name: [result(lead, lead in gone) for lead in leads(name)] for name, gone in missing.items()}


def account(site: Site, found: Results, kept: list[str] | None = None) -> LedgerEntry:
    previous = previous_entry(site.stores.internal, INIT)
    entry = account_for(
        site.job(), found, JobStats(kept=kept or []), previous=previous, labels=1, run_id="run", now=INIT + SOON
    )
    write_ledger(site.stores.internal, entry)
    return entry


def counts(entry: LedgerEntry) -> dict[str, tuple[int, int]]:
    return {name: (known.expected, known.succeeded) for name, known in entry.variables.items()}


def test_every_file_is_accounted_for(site: Site) -> None:
    entry = account(site, results({TEMPERATURE: {3, 5}, RAIN: set()}))
    assert counts(entry) == {TEMPERATURE: (10, 8), RAIN: (9, 9)}
    assert not entry.is_complete
    three, five = entry.variables[TEMPERATURE].missing
    assert (three.file, five.file) == (gfs_key(INIT, 3), gfs_key(INIT, 5))
    assert three.reason == "SourceFileMissing: gone"
    assert three.labels == "init_time=2026-07-29 18:00:00 lead_time=0 days 03:00:00"
    assert entry.variables[TEMPERATURE].complete_through == {str(INIT): 7200.0}
    assert entry.variables[RAIN].complete_through == {str(INIT): 32400.0}
    assert entry.etags == {gfs_key(INIT, lead): f'"{lead}"' for lead in LEADS}


def test_a_file_without_a_reason_is_told_by_its_status(site: Site) -> None:
    coord = GfsSourceFileCoord(init_time=INIT, lead_time=Timedelta(0))
    entry = account(site, {WIND: [FileResult(coord=coord)]})
    assert [lost.reason for lost in entry.variables[WIND].missing] == ["Processing"]


def test_variables_that_did_not_run_stay_as_they_were(site: Site) -> None:
    account(site, results({TEMPERATURE: {1}, WIND: set()}))
    entry = account(site, results({WIND: {2}, SUN: set()}))
    assert counts(entry) == {TEMPERATURE: (10, 9), WIND: (10, 9), SUN: (9, 9)}


def test_kept_shards_stay_accounted_as_they_were(site: Site) -> None:
    account(site, results({TEMPERATURE: {1}, WIND: set()}))
    entry = account(site, results({TEMPERATURE: {1, 2, 3}, WIND: {4}}), kept=[TEMPERATURE])
    assert counts(entry) == {TEMPERATURE: (10, 9), WIND: (10, 9)}
    assert [lost.file for lost in entry.variables[TEMPERATURE].missing] == [gfs_key(INIT, 1)]


def test_a_variable_without_success_keeps_what_was_written_before(site: Site) -> None:
    first = account(site, results({TEMPERATURE: set(), WIND: NONE}))
    assert counts(first) == {TEMPERATURE: (10, 10), WIND: (10, 0)}
    entry = account(site, results({TEMPERATURE: NONE, WIND: {0}, RAIN: NONE}))
    assert counts(entry) == {TEMPERATURE: (10, 10), WIND: (10, 9), RAIN: (9, 0)}


@pytest.mark.parametrize(
    ("missing", "hours"),
    [
        ({}, 9),
        ({TEMPERATURE: {9}}, 8),
        ({TEMPERATURE: {9}, RAIN: {4, 6}}, 3),
        ({RAIN: {2}}, 1),
        ({TEMPERATURE: {1}}, 0),
        ({TEMPERATURE: {0}}, None),
        ({RAIN: {1}}, None),
        ({SUN: NONE}, None),
    ],
)
def test_ingested_is_the_lead_time_up_to_which_all_is_there(
    site: Site, missing: dict[str, set[int]], hours: int | None
) -> None:
    """None where some variable lacks its very first file: the analysis, or the first hour of a window."""
    everything: dict[str, Any] = {name: missing.get(name, set()) for name in VARIABLES}
    entry = account(site, results(everything))
    (length,) = ingested_lengths(site.dataset.template_config, entry).values()
    expected = np.timedelta64("NaT", "s") if hours is None else np.timedelta64(hours * 3600, "s")
    assert length == expected or (np.isnat(length) and np.isnat(expected))


def test_nothing_is_ingested_while_a_variable_was_never_written(site: Site) -> None:
    entry = account(site, results({name: set() for name in VARIABLES if name != SUN}))
    lengths = ingested_lengths(site.dataset.template_config, entry)
    assert list(lengths) == [INIT]
    assert np.isnat(lengths[INIT])


def test_an_analysis_has_no_forecast_length(analysis: Site) -> None:
    analysis.update(INIT + Timedelta("1h"))
    entry = analysis.ledger()
    assert entry is not None
    assert entry.region == (INIT, INIT + Timedelta("1h"))
    assert entry.variables[WIND].complete_through == {}
    assert ingested_lengths(analysis.dataset.template_config, entry) == {}


@pytest.mark.parametrize(
    ("versions", "told"),
    [
        (('"a"', '"a"'), '"a"'),
        (('"a"', '"b"'), '"a", "b"'),
        (('"b"', '"a"'), '"a", "b"'),
        (("", '"b"'), '"b", unknown'),
    ],
)
def test_two_versions_of_a_file_are_both_told(site: Site, versions: tuple[str, str], told: str) -> None:
    """What is listed is another text then, and the file is read again. One that cannot be compared may be another, too."""
    archive = site.workspace.upstream.archives_for(INIT, INIT + SOON)[0].name
    coord = GfsSourceFileCoord(init_time=INIT, lead_time=Timedelta(hours=3))
    found: Results = {
        name: [FileResult(coord=coord, etag=etag, archive=archive).advance(SourceFileStatus.SUCCEEDED)]
        for name, etag in zip((TEMPERATURE, RAIN), versions, strict=True)
    }
    entry = account(site, found)
    assert entry.etags == {gfs_key(INIT, 3): told}
    assert len(entry.published_again({gfs_key(INIT, 3): '"b"'})) == (told != '"b"')


def test_an_upload_of_a_longer_plan_is_told_to_its_own_end(analysis: Site) -> None:
    """A run whose clock is behind takes it over: the shard holds more labels than this run knows."""
    job = analysis.job()
    last = job.template_ds.indexes["time"][job.region][-1]
    beyond = last + Timedelta("1h")
    coord = [*job.generate_source_file_coords(job.template_ds, job.data_vars)][-1]
    files = [
        FileResult(coord=coord.model_copy(update={"time": time})).advance(SourceFileStatus.SUCCEEDED)
        for time in (last, beyond)
    ]
    entry = account_for(job, {TEMPERATURE: files}, JobStats(), previous=None, labels=1, run_id="run", now=INIT + SOON)
    assert entry.region[1] == last
    assert entry.variables[TEMPERATURE].through == beyond


def test_an_entry_names_its_partition_and_what_readers_see(site: Site) -> None:
    template = site.dataset.template_config
    job = replace(site.job(), template_ds=template.get_template(SECOND + SOON), region=slice(1, 2))
    entry = account_for(
        job, results({WIND: set()}), JobStats(), previous=None, labels=2, run_id="run 7", now=SECOND + SOON
    )
    assert entry.partition == partition_key(SECOND) == "2026-07-30T00:00"
    assert (entry.region, entry.extent) == ((SECOND, SECOND), (INIT, SECOND))
    assert (entry.dataset_id, entry.version, entry.run_id) == ("test-gfs-forecast", "0.1.0", "run 7")
    assert (entry.template_hash, entry.written_at) == (template_hash(template), SECOND + SOON)


def test_another_structure_is_another_hash(site: Site, tmp_path: Path) -> None:
    template = site.dataset.template_config
    moved = template.model_copy(update={"folder": tmp_path, "data_vars": template.data_vars[1:]})
    moved.update_template()
    assert template_hash(moved) != template_hash(template)
    assert len(template_hash(template)) == 16


def test_keys_sort_as_their_labels() -> None:
    labels = pd.date_range("2025-12-31T18", periods=9, freq="6h")
    keys = [partition_key(label) for label in labels]
    assert keys == sorted(keys)
    assert keys[0] == "2025-12-31T18:00"


@pytest.mark.parametrize("by_member", [True, False], ids=["of each member", "of all"])
def test_members_are_told_apart_where_the_template_does(tmp_path: Path, by_member: bool) -> None:
    shards = {"init_time": 2, "ensemble_member": 3, "lead_time": 3, "latitude": 4, "longitude": 4}
    dims = (ensemble_member(3), lead_time(hourly_to="2h"))
    template = tiny_template(tmp_path, dims=dims, chunks=shards, shards=shards, ingested_by_member=by_member)
    first, second = pd.date_range("2024-02-28T00", periods=2, freq="6h", unit="us")
    through = {
        "temperature_2m": {f"{first} 0": 7200.0, f"{first} 1": 3600.0, f"{first} 2": 0.0, f"{second} 0": 0.0},
        "wind_u_10m": {f"{first} 0": 3600.0, f"{first} 1": 7200.0, f"{first} 2": 7200.0, f"{second} 0": 7200.0},
    }
    entry = LedgerEntry(
        partition=partition_key(first),
        dataset_id=template.dataset_id,
        version=template.dataset_version,
        region=(first, second),
        variables={
            name: VariableCoverage(expected=18, succeeded=18, complete_through=known) for name, known in through.items()
        },
        extent=(first, second),
        template_hash="",
        code_version="",
        run_id="run",
        written_at=second,
    )
    hours = {init: found / np.timedelta64(1, "h") for init, found in ingested_lengths(template, entry).items()}
    nan = np.nan
    wanted = {first: [1.0, 1.0, 0.0], second: [0.0, nan, nan]} if by_member else {first: 0.0, second: nan}
    for init, length in wanted.items():
        np.testing.assert_array_equal(hours[init], length)
    none_wanted = entry.variables | {"wind_u_10m": VariableCoverage(expected=0, succeeded=0)}
    alone = ingested_lengths(template, entry.model_copy(update={"variables": none_wanted}))[first]
    np.testing.assert_array_equal(alone / np.timedelta64(1, "h"), [2.0, 1.0, 0.0] if by_member else 0.0)
    del none_wanted["temperature_2m"]
    assert np.isnat(ingested_lengths(template, entry.model_copy(update={"variables": none_wanted}))[first]).all()
