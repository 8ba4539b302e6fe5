"""What a commit publishes, what it tells the ledger, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dataset_defs.noaa.gfs.forecast import GfsSourceFileCoord
from reformatters_dagster.core.job.context import JobStats
from reformatters_dagster.core.ledger.lease import LeaseTerms
from reformatters_dagster.core.ledger.progress import noted_partitions
from reformatters_dagster.core.run.accounting import template_hash
from reformatters_dagster.core.run.commit import commit_partition
from reformatters_dagster.core.run.outcomes import GroupOutcome
from reformatters_dagster.core.run.plan import PartitionRequest, plan_partition
from reformatters_dagster.core.run.process import process_group
from reformatters_dagster.core.source.files import FileResult, SourceFileStatus
from reformatters_dagster.core.spec.errors import (
    CommitConflict,
    NothingSucceeded,
    ObjectMoved,
    OutcomeOvertaken,
)
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.store.ingested_lengths import merge_ingested_lengths
from reformatters_dagster.core.store.location import Etag, Expected
from reformatters_dagster.core.store.metadata import copy_metadata
from reformatters_dagster.core.store.stores import open_store
from tests.core.run.sites import VARIABLES, ingested, init_times
from tests.datasets import (
    INIT,
    LEADS,
    RAIN,
    SECOND,
    SOON,
    TEMPERATURE,
    THIRD,
    Site,
    assert_forecast_true,
    gfs_key,
)
from tests.launched import heals, run
from tests.stores import FaultStore, Journal, Stopped, watched

pytest_plugins = ["tests.datasets"]

HOUR = Timedelta("1h")


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (
            ["CorruptMessage: f000 is cut", "SourceFileMissing: f001 is none", "SourceFileMissing: f002 is none"],
            "wanted 3 fields of 1 variable; none succeeded, nothing was published. "
            "Most frequent kind of error (2 times, here the first): SourceFileMissing: f001 is none",
        ),
        (["CorruptMessage: f000 is cut"], ". Most frequent kind of error (once): CorruptMessage: f000 is cut"),
        ([], "wanted 0 fields of 1 variable; none succeeded, nothing was published. No file is expected"),
    ],
)
def test_a_failure_is_told_by_the_kind_of_error_that_most_files_share(
    published: Site, reasons: list[str], told: str
) -> None:
    dataset, workspace = published.dataset, published.workspace
    plan = plan_partition(
        dataset, workspace, PartitionRequest(label=INIT, publish=False, variables=(TEMPERATURE,)), INIT + SOON
    )
    files = [
        FileResult(coord=GfsSourceFileCoord(init_time=INIT, lead_time=lead * HOUR)).advance(
            SourceFileStatus.DOWNLOAD_FAILED, reason
        )
        for lead, reason in enumerate(reasons)
    ]
    outcome = GroupOutcome({TEMPERATURE: files}, JobStats(), "update")
    with pytest.raises(NothingSucceeded) as caught:
        commit_partition(dataset, workspace, plan, [outcome], run_id="run", now=INIT + SOON)
    assert str(caught.value).startswith(
        f"test-gfs-forecast partition {INIT:%Y-%m-%dT%H:%M} wanted {len(reasons)} field"
    )
    assert str(caught.value).endswith(told)


def drop_rain(site: Site, init_time: Timestamp) -> None:
    for lead in LEADS[1:]:
        index = Path(f"{site.file(lead, init_time)}.idx")
        index.write_text("".join(line for line in index.read_text().splitlines(keepends=True) if "APCP" not in line))


def test_under_policy_any_a_lagging_variable_leaves_a_hole(published: Site) -> None:
    published.arrive(SECOND)
    drop_rain(published, SECOND)
    published.update(SECOND + SOON)
    ds = published.read()
    assert list(ds.indexes["init_time"]) == [INIT, SECOND]
    assert_forecast_true(ds, SECOND, variables=[TEMPERATURE])
    assert ds[RAIN].sel(init_time=SECOND).isnull().all()
    assert ingested(published)[0] == 9 * HOUR
    assert pd.isna(ingested(published)[1])
    entry = published.ledger(SECOND)
    assert entry is not None
    assert (entry.variables[RAIN].succeeded, entry.variables[RAIN].expected) == (0, 9)
    published.arrive(SECOND)
    published.backfill(SECOND + SOON, overwrite_chunks=True, contains=(SECOND,))
    assert_forecast_true(published.read(), SECOND)
    assert ingested(published) == [9 * HOUR] * 2
    published.backfill(SECOND + SOON, overwrite_metadata=True)
    assert ingested(published) == [9 * HOUR] * 2


def test_under_policy_all_a_lagging_variable_holds_the_init_time_back(published: Site) -> None:
    site = published.having(publish_policy="all")
    site.arrive(SECOND, THIRD)
    drop_rain(site, SECOND)
    report = site.update(THIRD + SOON)
    assert [commit.labels for commit in report.commits] == [1, 1]
    assert init_times(site) == [INIT]
    assert ingested(site) == [9 * HOUR]
    entry = site.ledger(SECOND)
    assert entry is not None
    assert entry.extent == (INIT, INIT)
    site.arrive(SECOND)
    site.update(SECOND + SOON)
    ds = site.read()
    for init in (INIT, SECOND):
        assert_forecast_true(ds, init)
    assert ingested(site) == [9 * HOUR] * 2


def test_under_policy_all_a_published_init_time_stays_when_a_variable_is_out(published: Site) -> None:
    site = published.having(publish_policy="all")
    before = site.objects()
    drop_rain(site, INIT)
    site.arrive(SECOND)
    report = site.update(SECOND + SOON)
    assert [commit.labels for commit in report.commits] == [1, 2]
    rain = [key for key in before if f"/{RAIN}/c/" in key]
    assert {key: site.objects()[key] for key in rain} == {key: before[key] for key in rain}
    entry = site.ledger()
    assert entry is not None
    assert (entry.variables[RAIN].succeeded, entry.variables[RAIN].expected) == (9, 9)
    for init in (INIT, SECOND):
        assert_forecast_true(site.read(), init)


def test_under_policy_all_the_first_init_time_waits_too(pair: Site) -> None:
    pair.arrive(INIT)
    drop_rain(pair, INIT)
    report = pair.having(publish_policy="all").update()
    assert "is the archive's first; some variables have no file of it" in report.failures[INIT]
    assert not pair.stores.primary.exists("zarr.json")
    assert pair.ledger() is None


@pytest.mark.parametrize(
    ("reason", "force", "given_up"),
    [
        ("SourceFileMissing: not published yet", False, True),
        ("CorruptMessage: it does not end with 7777", False, True),
        ("SourceFileUnavailable: throttled in 6 attempts", False, False),
        ("SourceFileUnavailable: throttled in 6 attempts", True, True),
    ],
)
def test_what_archives_merely_refuse_is_not_given_up_unless_forced(
    published: Site, reason: str, *, force: bool, given_up: bool
) -> None:
    dataset, workspace, before = published.dataset, published.workspace, published.objects()
    plan = plan_partition(
        dataset,
        workspace,
        PartitionRequest(label=SECOND, publish=True, accept_missing=True, force=force, root_run="run"),
        SECOND + SOON,
    )
    files = [
        FileResult(coord=GfsSourceFileCoord(init_time=SECOND, lead_time=lead * HOUR)).advance(
            SourceFileStatus.DOWNLOAD_FAILED, reason
        )
        for lead in LEADS
    ]
    outcome = GroupOutcome(dict.fromkeys(VARIABLES, files), JobStats(), "update")
    if given_up:
        entry = commit_partition(dataset, workspace, plan, [outcome], run_id="run", now=SECOND + SOON).entry
        assert entry.known_missing
        assert published.read().sizes["init_time"] == 2
    else:
        with pytest.raises(NothingSucceeded, match="throttled in 6 attempts"):
            commit_partition(dataset, workspace, plan, [outcome], run_id="run", now=SECOND + SOON)
        assert published.objects() == before


def test_the_ledger_tells_what_happened(pair: Site) -> None:
    pair.arrive(INIT)
    pair.remove(3)
    pair.file(5).write_bytes(b"GRIB")
    report = pair.backfill()
    entry = pair.ledger()
    assert entry is not None
    assert report.commits[0].entry == entry
    template = pair.dataset.template_config
    assert (entry.partition, entry.dataset_id, entry.version) == ("2026-07-29T18:00", "test-gfs-forecast", "0.1.0")
    assert entry.region == entry.extent == (INIT, INIT)
    assert (entry.template_hash, entry.run_id, entry.written_at) == (template_hash(template), "backfill", INIT + SOON)
    found = {name: (known.expected, known.succeeded) for name, known in entry.variables.items()}
    assert found == {TEMPERATURE: (10, 8), RAIN: (9, 7)}
    gone, cut = entry.variables[RAIN].missing
    assert (gone.file, cut.file) == (gfs_key(INIT, 3), gfs_key(INIT, 5))
    assert gone.labels == "init_time=2026-07-29 18:00:00 lead_time=0 days 03:00:00"
    assert gone.reason.startswith("SourceFileMissing: ")
    assert "f005.idx line 1 starts" in cut.reason
    assert set(entry.etags) == {gfs_key(INIT, lead) for lead in LEADS if lead not in {3, 5}}


def test_the_ledger_of_some_variables_joins_that_of_the_others(pair: Site) -> None:
    pair.arrive(INIT)
    pair.backfill(variables=(TEMPERATURE,))
    assert pd.isna(ingested(pair)[0])
    pair.remove(7)
    pair.backfill(variables=(RAIN,), overwrite_chunks=True)
    entry = pair.ledger()
    assert entry is not None
    assert {name: known.succeeded for name, known in entry.variables.items()} == {TEMPERATURE: 10, RAIN: 8}
    assert ingested(pair) == [6 * HOUR]


def test_ingested_goes_by_the_variable_that_has_least(pair: Site) -> None:
    """Of the temperature there is only the analysis, of all else everything."""
    pair.arrive(INIT)
    index = Path(f"{pair.file(1)}.idx")
    index.write_text(index.read_text().replace(":TMP:", ":TMAX:"))
    pair.update()
    assert ingested(pair) == [0 * HOUR]


def test_a_length_of_a_label_that_is_about_to_be_published_stays(published: Site) -> None:
    """As it stands between the put of the length and that of the root."""
    before = ingested(published)
    published.arrive(SECOND)
    published.update(SECOND + SOON)
    shorter = published.dataset.template_config.get_template(INIT + Timedelta("1us"))
    merge_ingested_lengths(shorter, published.workspace, {INIT: np.array(3, dtype="timedelta64[h]")})
    assert before == [9 * HOUR]
    assert ingested(published) == [3 * HOUR, 9 * HOUR]


@pytest.mark.parametrize("damaged", [b"damaged", None], ids=["damaged", "lost"])
def test_lengths_that_the_primary_has_lost_are_those_of_the_last_replica(
    published: Site, tmp_path: Path, damaged: bytes | None
) -> None:
    published.arrive(SECOND)
    published.update(SECOND + SOON)
    primary, key = published.workspace.stores.primary, "ingested_forecast_length/c/0"
    replica = open_store(str(tmp_path / "replica"), "a/v1.zarr")
    copy_metadata(primary, replica, primary.get("zarr.json")[0])
    if damaged is None:
        primary.delete(key)
    else:
        primary.put(key, damaged)
    pair = replace(published.workspace, stores=replace(published.workspace.stores, replicas=(replica,)))
    template = published.dataset.template_config.get_template(SECOND + Timedelta("1us"))
    merge_ingested_lengths(template, pair, {SECOND: np.array(3, dtype="timedelta64[h]")})
    assert ingested(published) == [9 * HOUR, 3 * HOUR]


def test_lengths_may_all_be_unknown(published: Site) -> None:
    template = published.dataset.template_config.get_template(INIT + Timedelta("1us"))
    merge_ingested_lengths(template, published.workspace, {INIT: np.array("NaT", dtype="timedelta64[h]")})
    assert published.workspace.stores.primary.exists("ingested_forecast_length/c/0")
    assert pd.isna(ingested(published)[0])


def test_lengths_that_stand_there_are_not_put_again(published: Site) -> None:
    journal, template = Journal(), published.dataset.template_config.get_template(INIT + Timedelta("1us"))
    stores = watched(published.workspace.stores, journal)
    for hours in (9, 3):
        lengths = {INIT: np.array(hours, dtype="timedelta64[h]")}
        merge_ingested_lengths(template, replace(published.workspace, stores=stores), lengths)
    assert [key for _, key in journal.puts] == ["ingested_forecast_length/c/0"]
    assert ingested(published) == [3 * HOUR]


def test_lengths_that_another_writer_always_overtakes_are_a_conflict(published: Site) -> None:
    primary = published.workspace.stores.primary

    def be_first(_: str, key: str) -> None:
        primary.put(key, primary.get(key)[0])

    stores = replace(published.workspace.stores, primary=FaultStore(primary, be_first))
    template = published.dataset.template_config.get_template(INIT + Timedelta("1us"))
    with pytest.raises(
        CommitConflict, match="ingested_forecast_length/c/0 was to be written; another writer was first 20 times"
    ):
        merge_ingested_lengths(
            template, replace(published.workspace, stores=stores), {INIT: np.array(3, dtype="timedelta64[h]")}
        )


@pytest.mark.parametrize("ends", [True, False], ids=["after its uploads", "within one"])
def test_shards_that_another_run_replaced_are_not_committed(published: Site, *, ends: bool) -> None:
    """That run ended before its own commit. Its notes stay, and the partition is healed."""
    site = published.having(lease_terms=LeaseTerms(time_to_live=0.6, heartbeat=0.1, look_again=0.1))
    dataset, workspace, now = site.dataset, site.workspace, INIT + SOON
    request = PartitionRequest(label=INIT, publish=False)
    first = plan_partition(dataset, workspace, request.model_copy(update={"root_run": "first"}), now)
    outcome = process_group(dataset, dataset.context(workspace, now, run_id="first"), first, first.variables)
    for told in (outcome, replace(outcome, goes_on=(RAIN,))):
        assert told == GroupOutcome.from_json(told.to_json(), dataset.region_job.source_file_coord)

    def stop(url: str, key: str) -> None:
        if not ends and key.startswith(f"{RAIN}/c/"):
            raise Stopped

    site.remove(3)
    forced = request.model_copy(update={"root_run": "second", "force": True})
    second = plan_partition(dataset, workspace, forced, now)
    other = published.having().workspace
    context = dataset.context(replace(other, stores=watched(other.stores, stop)), now, run_id="second", force=True)
    try:
        process_group(dataset, context, second, second.variables)
    except Stopped:
        assert not ends

    with pytest.raises(
        OutcomeOvertaken, match=f"another run has begun to upload .*{RAIN}.* run the whole partition again"
    ):
        commit_partition(dataset, workspace, first, [outcome], run_id="first", now=now)
    assert noted_partitions(workspace.stores.internal) == {"2026-07-29T18:00"}
    site.arrive(INIT, leads=[3])
    later = now + dataset.heal_cool_down
    (launch,) = heals(site, later)
    run(site, launch, later)
    assert_forecast_true(site.read(), INIT)
    assert noted_partitions(workspace.stores.internal) == set()


class Busy(FaultStore):
    """A store that answers the put of a ledger entry with 409, though it has landed."""

    def put(self, key: str, data: bytes | Path, *, only_if: Expected | None = None) -> Etag:
        etag = super().put(key, data, only_if=only_if)
        if key.startswith("ledger/"):
            raise ObjectMoved(key)
        return etag


def test_an_entry_that_landed_though_the_store_said_otherwise_is_the_runs_own(published: Site) -> None:
    published.arrive(SECOND)
    stores = published.workspace.stores
    workspace = replace(published.workspace, stores=replace(stores, internal=Busy(stores.internal)))
    published.dataset.reformat_operational_update(workspace, run_id="run", now=SECOND + SOON)
    entry = published.ledger(SECOND)
    assert entry is not None
    assert entry.run_id == "run"
    assert noted_partitions(stores.internal) == set()
