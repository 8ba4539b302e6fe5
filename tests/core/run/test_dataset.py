"""Backfills and updates from upstream files to what readers see, and every request that is refused."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr

from dataset_defs.noaa.gfs.analysis import GfsAnalysisRegionJob
from dataset_defs.noaa.gfs.forecast import GfsSourceFileCoord
from reformatters_dagster.core.job.context import JobStats
from reformatters_dagster.core.run.accounting import template_hash
from reformatters_dagster.core.run.backfill import BackfillRequest, plan_backfill
from reformatters_dagster.core.run.commit import commit_partition
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.outcomes import GroupOutcome
from reformatters_dagster.core.run.partition import run_partition
from reformatters_dagster.core.run.plan import PartitionRequest, plan_partition
from reformatters_dagster.core.source.files import Downloaded, FileResult, SourceFileStatus
from reformatters_dagster.core.spec.axes import AppendAxis
from reformatters_dagster.core.spec.errors import (
    NothingSucceeded,
    PlanOutdated,
    PublishGap,
    Refused,
    Retraction,
    SourceFileMissing,
    SourceFileUnavailable,
    StoreAccessDenied,
    StoreExists,
    StoreMissing,
    StoreTooShort,
    TemplateDrift,
    TimeNotOnGrid,
    TmpDiskFull,
    UnknownVariable,
    UpstreamMissing,
)
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.store.ingested_lengths import merge_ingested_lengths
from reformatters_dagster.core.store.metadata import put_template
from reformatters_dagster.core.store.reading import open_published
from reformatters_dagster.core.store.settings import Settings
from tests.datasets import (
    EARLIER,
    INIT,
    LEADS,
    PRIMARY,
    RAIN,
    SECOND,
    SOON,
    TEMPERATURE,
    THIRD,
    Sample,
    Site,
    assert_forecast_true,
    gfs_analysis,
    gfs_forecast,
    gfs_key,
    objects_of,
)
from tests.stores import S3Bucket

pytest_plugins = ["tests.datasets", "tests.stores"]

HOUR = Timedelta("1h")
VARIABLES = (TEMPERATURE, RAIN)
UNREACHABLE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DynamicalDataset:
    return gfs_forecast(tmp_path_factory.mktemp("templates"), variables=VARIABLES)


@pytest.fixture
def site(tmp_path: Path, dataset: DynamicalDataset, gfs_sample: Sample) -> Site:
    """A forecast that begins at `INIT`, with nothing upstream yet."""
    return Site(tmp_path, dataset, gfs_sample)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, dataset: DynamicalDataset, gfs_sample: Sample) -> Path:
    made = Site(tmp_path_factory.mktemp("filled"), dataset, gfs_sample)
    made.arrive(INIT)
    made.update()
    return made.folder


@pytest.fixture
def published(site: Site, filled: Path) -> Site:
    """The same with all files of `INIT` upstream, and a store that holds them."""
    shutil.copytree(filled, site.folder, dirs_exist_ok=True)
    return site


@pytest.fixture
def analysis(tmp_path: Path, gfs_sample: Sample) -> Site:
    """Hourly from the first hours of each forecast, with all of its files upstream."""
    made = Site(tmp_path, gfs_analysis(tmp_path / "templates", variables=VARIABLES), gfs_sample)
    made.arrive(EARLIER, leads=[6])
    made.arrive(INIT, SECOND, leads=range(7))
    return made


def init_times(site: Site) -> list[Timestamp]:
    return list(site.read().indexes["init_time"])


def ingested(site: Site) -> list[Timedelta]:
    return list(pd.TimedeltaIndex(site.read()["ingested_forecast_length"].to_numpy()))


def metadata(site: Site) -> dict[str, bytes]:
    return {key: data for key, data in site.objects().items() if "/c/" not in key and "_internal" not in key}


def chunks(site: Site) -> dict[str, bytes]:
    return {key: data for key, data in site.objects().items() if any(f"/{name}/c/" in key for name in VARIABLES)}


# Backfill


def test_a_backfill_creates_the_store_and_fills_it(site: Site) -> None:
    site.arrive(INIT, SECOND)
    report = site.backfill(SECOND + SOON)
    assert report.partitions == [INIT, SECOND]
    assert report.failures == {}
    ds = site.read()
    assert list(ds.indexes["init_time"]) == [INIT, SECOND]
    for init in (INIT, SECOND):
        assert_forecast_true(ds, init)
    assert ingested(site) == [9 * HOUR] * 2
    assert site.tmp_files() == []


def test_an_end_and_filters_choose_partitions_of_a_new_store(site: Site) -> None:
    site.arrive(INIT, SECOND, THIRD)
    report = site.backfill(THIRD + SOON, start=SECOND, end=THIRD, variables=(TEMPERATURE,))
    assert report.partitions == [SECOND]
    ds = site.read()
    assert list(ds.indexes["init_time"]) == [INIT, SECOND]
    assert_forecast_true(ds, SECOND, variables=[TEMPERATURE])
    assert {key.split("/c/")[0].rsplit("/", 1)[1] for key in chunks(site)} == {TEMPERATURE}
    assert pd.isna(ingested(site)).all()


def test_a_partition_without_files_is_reported_and_stops_no_other(site: Site) -> None:
    site.arrive(SECOND)
    report = site.backfill(SECOND + SOON)
    assert list(report.failures) == [INIT]
    assert report.failures[INIT].startswith(
        "test-gfs-forecast partition 2026-07-29T18:00 wanted 19 files for 2 variables; none succeeded"
    )
    assert "SourceFileMissing" in report.failures[INIT]
    assert_forecast_true(site.read(), SECOND)
    assert site.ledger(INIT) is None


def test_a_standing_store_is_not_created_again(published: Site) -> None:
    before = published.objects()
    advice = "one stands already: add --overwrite-chunks to fill or redo partitions of it, --overwrite-metadata .* extend it$"
    with pytest.raises(StoreExists, match=advice):
        published.backfill()
    assert published.objects() == before


@pytest.mark.parametrize("flags", [{"overwrite_chunks": True}, {"overwrite_metadata": True}])
def test_nothing_to_overwrite(site: Site, flags: dict[str, Any]) -> None:
    with pytest.raises(StoreMissing, match="there is no store: leave out --overwrite-chunks and --overwrite-metadata"):
        site.backfill(**flags)
    assert site.objects() == {}


def test_overwriting_chunks_leaves_metadata_and_other_shards(published: Site) -> None:
    published.arrive(SECOND)
    published.dataset.initialise(published.workspace, THIRD, THIRD)
    documents, before = metadata(published), chunks(published)
    report = published.backfill(THIRD + SOON, overwrite_chunks=True, contains=(SECOND,))
    assert report.partitions == [SECOND]
    assert metadata(published) == documents
    assert {key: chunks(published)[key] for key in before} == before
    assert {key.split("/c/")[1].split("/")[0] for key in chunks(published).keys() - before.keys()} == {"1"}
    assert_forecast_true(published.read(), SECOND)
    assert ingested(published) == [9 * HOUR] * 2


def test_overwriting_chunks_ends_where_the_store_ends(published: Site) -> None:
    published.arrive(SECOND)
    for end in (None, THIRD):
        request = BackfillRequest(overwrite_chunks=True, end=end)
        assert plan_backfill(published.dataset, published.workspace, request, THIRD).partitions == [INIT]


def test_overwriting_metadata_refreshes_attributes_and_adds_arrays(site: Site, tmp_path: Path) -> None:
    site.arrive(INIT)
    described = site.dataset.template_config.attributes.model_copy(update={"description": "Told anew."})
    fewer = replace(site, dataset=gfs_forecast(tmp_path / "fewer", variables=[RAIN]))
    fewer.backfill()
    before = chunks(site)
    more = replace(site, dataset=gfs_forecast(tmp_path / "more", variables=VARIABLES, attributes=described))
    assert more.backfill(overwrite_metadata=True).partitions == []
    ds = site.read()
    assert ds.attrs["description"] == "Told anew."
    assert set(ds.data_vars) == set(VARIABLES)
    assert ds[TEMPERATURE].isnull().all()
    assert_forecast_true(ds, INIT, variables=[RAIN])
    assert chunks(site) == before
    assert ingested(site) == [9 * HOUR]
    more.backfill(overwrite_chunks=True, variables=(TEMPERATURE,))
    assert_forecast_true(site.read(), INIT)


@pytest.mark.parametrize("chosen", [{"start": INIT}, {"end": SECOND}, {"contains": (INIT,)}, {"variables": (RAIN,)}])
def test_overwriting_metadata_takes_no_filters(published: Site, chosen: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="--overwrite-metadata alone touches no data, yet an end or a choice"):
        published.backfill(overwrite_metadata=True, **chosen)


def test_both_flags_and_an_end_extend_the_store(published: Site) -> None:
    published.arrive(SECOND)
    both: dict[str, Any] = {"overwrite_chunks": True, "overwrite_metadata": True}
    assert published.backfill(SECOND + SOON, **both).partitions == [INIT]
    assert published.backfill(SECOND + SOON, **both, start=SECOND, end=SECOND + HOUR).partitions == [SECOND]
    ds = published.read()
    assert list(ds.indexes["init_time"]) == [INIT, SECOND]
    for init in (INIT, SECOND):
        assert_forecast_true(ds, init)
    published.backfill(SECOND + SOON, **both, contains=(), end=SECOND)
    assert init_times(published) == [INIT, SECOND]


def test_a_plan_writes_nothing(site: Site) -> None:
    plan = plan_backfill(site.dataset, site.workspace, BackfillRequest(), SECOND + SOON)
    assert (plan.end, plan.partitions) == (SECOND + SOON + Timedelta("1us"), [INIT, SECOND])
    assert not (site.folder / "primary").exists()
    assert not site.tmp.exists()


def test_a_plan_of_an_extension_writes_nothing(published: Site) -> None:
    before = published.objects()
    request = BackfillRequest(overwrite_chunks=True, overwrite_metadata=True, end=THIRD)
    plan = plan_backfill(published.dataset, published.workspace, request, THIRD)
    assert (plan.end, plan.partitions) == (THIRD, [INIT, SECOND])
    assert published.objects() == before


def test_a_shard_made_from_more_files_is_kept_unless_forced(published: Site) -> None:
    before = published.objects()
    published.remove(3)
    report = published.backfill(overwrite_chunks=True)
    assert report.commits[0].stats.kept == sorted(VARIABLES)
    assert chunks(published) == {key: before[key] for key in chunks(published)}
    entry = published.ledger()
    assert entry is not None
    assert entry.is_complete
    assert ingested(published) == [9 * HOUR]
    published.backfill(overwrite_chunks=True, force=True)
    assert ingested(published) == [2 * HOUR]
    entry = published.ledger()
    assert entry is not None
    assert {name: known.succeeded for name, known in entry.variables.items()} == {
        TEMPERATURE: 9,
        RAIN: 8,
    }


# Update


def test_a_first_update_without_files_makes_nothing(site: Site) -> None:
    report = site.update()
    assert list(report.failures) == [INIT]
    assert site.objects() == {}


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


def test_the_first_update_makes_the_store_up_to_the_first_init_time_that_is_not_there(site: Site) -> None:
    site.arrive(INIT, THIRD)
    report = site.update(THIRD + SOON)
    assert report.partitions == [INIT, SECOND, THIRD]
    assert list(report.failures) == [SECOND]
    assert init_times(site) == [INIT]
    assert_forecast_true(site.read(), INIT)


def test_an_update_of_some_variables_that_would_publish_new_labels_is_refused(published: Site) -> None:
    published.arrive(SECOND)
    before = published.objects()
    wanted = f"partition 2026-07-30T00:00 was asked for without {RAIN}; readers would see its labels"
    with pytest.raises(Refused, match=wanted):
        plan_partition(
            published.dataset,
            published.workspace,
            PartitionRequest(label=SECOND, publish=True, variables=(TEMPERATURE,)),
            SECOND + SOON,
        )
    assert published.objects() == before
    again = plan_partition(
        published.dataset,
        published.workspace,
        PartitionRequest(label=INIT, publish=True, variables=(TEMPERATURE,)),
        INIT + SOON,
    )
    assert again.variables == (TEMPERATURE,)


def test_an_init_time_that_a_backfill_found_empty_is_waited_for(site: Site) -> None:
    """A new store reaches up to now; what has only begun is not an outage of what was there."""
    site.arrive(INIT)
    report = site.backfill(SECOND + SOON)
    assert list(report.failures) == [SECOND]
    report = site.update(SECOND + SOON)
    assert list(report.failures) == [SECOND]
    site.arrive(SECOND)
    assert site.update(SECOND + SOON).failures == {}
    assert_forecast_true(site.read(), SECOND)


def test_a_total_outage_leaves_every_byte(published: Site) -> None:
    before = published.objects()
    published.remove(*LEADS)
    with pytest.raises(
        NothingSucceeded, match="wanted 19 files for 2 variables; none succeeded, nothing was published"
    ):
        published.update(SECOND + SOON)
    assert published.objects() == before
    assert published.tmp_files() == []


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (
            ["CorruptMessage: f000 is cut", "SourceFileMissing: f001 is none", "SourceFileMissing: f002 is none"],
            "wanted 3 files for 1 variables; none succeeded, nothing was published. "
            "Most frequent kind of error (2 times, here the first): SourceFileMissing: f001 is none",
        ),
        (["CorruptMessage: f000 is cut"], ". Most frequent kind of error (once): CorruptMessage: f000 is cut"),
        ([], "wanted 0 files for 1 variables; none succeeded, nothing was published. No file is expected"),
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
        f"test-gfs-forecast partition {INIT:%Y-%m-%dT%H:%M} wanted {len(reasons)} files"
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


def test_under_policy_all_the_first_init_time_waits_too(site: Site) -> None:
    site.arrive(INIT)
    drop_rain(site, INIT)
    report = site.having(publish_policy="all").update()
    assert "is the archive's first; some variables have no file of it" in report.failures[INIT]
    assert not site.stores.primary.exists("zarr.json")
    assert site.ledger() is None


def test_a_missing_file_heals_when_it_arrives(site: Site) -> None:
    site.arrive(INIT)
    site.remove(3)
    site.update()
    assert site.read()[TEMPERATURE].sel(lead_time=3 * HOUR).isnull().all()
    entry = site.ledger()
    assert entry is not None
    assert not entry.is_complete
    site.arrive(INIT, leads=[3])
    site.update()
    assert_forecast_true(site.read(), INIT)
    entry = site.ledger()
    assert entry is not None
    assert entry.is_complete
    assert ingested(site) == [9 * HOUR]


def test_an_analysis_grows_within_its_shard_and_beyond(analysis: Site) -> None:
    def times(count: int) -> list[Timestamp]:
        return list(pd.date_range(INIT, periods=count, freq="1h"))

    analysis.update(INIT + 2 * HOUR)
    assert list(analysis.read().indexes["time"]) == times(3)
    first = chunks(analysis)
    analysis.update(INIT + 7 * HOUR)
    ds = analysis.read()
    assert list(ds.indexes["time"]) == times(8)
    assert ds.isel(time=slice(1, None)).notnull().all().to_array().all()
    assert {key.split("/c/")[1].split("/")[0] for key in chunks(analysis)} == {"0", "1"}
    assert all(chunks(analysis)[key] != data for key, data in first.items())


def test_an_analysis_stops_where_a_shard_has_no_end_yet(analysis: Site) -> None:
    """Hours 4 and 5 of a shard are not there, the next shard is: publishing that one would leave a hole."""
    for lead in (4, 5):
        analysis.file(lead).unlink()
    report = analysis.update(SECOND + 2 * HOUR)
    assert report.partitions == [INIT, SECOND]
    assert [commit.labels for commit in report.commits] == [4]
    assert analysis.read().indexes["time"][-1] == INIT + 3 * HOUR
    analysis.arrive(INIT, leads=[4, 5])
    analysis.update(SECOND + 2 * HOUR)
    assert analysis.read().sizes["time"] == 9


def test_an_end_that_nobody_makes_any_more_is_passed_after_the_give_up_age(analysis: Site) -> None:
    for lead in (4, 5):
        analysis.file(lead).unlink()
    patient = analysis.having(give_up_age=Timedelta("3h"))
    report = patient.update(SECOND + 1 * HOUR)  # the last hour that lacks a file is 2 h old
    assert [commit.labels for commit in report.commits] == [4]
    report = patient.update(SECOND + 2 * HOUR)
    assert [commit.labels for commit in report.commits] == [6, 9]
    assert report.commits[0].entry.known_missing
    ds = patient.read()
    assert list(ds.indexes["time"]) == list(pd.date_range(INIT, SECOND + 2 * HOUR, freq="h"))
    assert ds[TEMPERATURE].isel(time=[4, 5]).isnull().all()
    assert ds[TEMPERATURE].isel(time=[3, 6, 7, 8]).notnull().all()


def test_an_end_that_archives_merely_refuse_is_not_passed(analysis: Site) -> None:
    """What was had is published all the same, and the update ends well."""
    for lead in (4, 5):
        analysis.file(lead).unlink()

    class Throttled(GfsAnalysisRegionJob):
        def download_file(self, coord: Any, data_vars: Any, folder: Path) -> Downloaded:
            try:
                return super().download_file(coord, data_vars, folder)
            except SourceFileMissing as error:
                raise SourceFileUnavailable(str(error)) from error

    patient = analysis.having(give_up_age=Timedelta("3h"), region_job=Throttled)
    report = patient.update(SECOND + 2 * HOUR)
    assert [commit.labels for commit in report.commits] == [4]
    assert not report.commits[0].entry.known_missing
    assert patient.read().sizes["time"] == 4


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


@pytest.mark.parametrize("publish", [False, True])
def test_a_plan_made_before_more_was_published_is_refused(analysis: Site, *, publish: bool) -> None:
    """A backfill that waited while an update went by would blank the labels it does not know."""
    dataset, workspace = analysis.dataset, analysis.workspace
    analysis.update(INIT + 2 * HOUR)
    plan = plan_partition(dataset, workspace, PartitionRequest(label=INIT, publish=publish), INIT + 2 * HOUR)
    analysis.update(INIT + 3 * HOUR)
    before = analysis.objects()
    wanted = (
        "to be written up to before 2026-07-29T2[01]:00; 2026-07-29T21:00 has been published since: nothing was written"
    )
    with pytest.raises(PlanOutdated, match=wanted):
        run_partition(dataset, workspace, plan, run_id="late")
    assert analysis.objects() == before


def test_a_plan_of_a_whole_shard_stays_good(analysis: Site) -> None:
    dataset, workspace = analysis.dataset, analysis.workspace
    analysis.update(INIT + 6 * HOUR)
    plan = plan_partition(dataset, workspace, PartitionRequest(label=INIT, publish=False), INIT + 6 * HOUR)
    analysis.update(INIT + 7 * HOUR)
    assert run_partition(dataset, workspace, plan, run_id="late").entry.is_complete


# Ledger and ingested lengths


def test_the_ledger_tells_what_happened(site: Site) -> None:
    site.arrive(INIT)
    site.remove(3)
    site.file(5).write_bytes(b"GRIB")
    report = site.backfill()
    entry = site.ledger()
    assert entry is not None
    assert report.commits[0].entry == entry
    template = site.dataset.template_config
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


def test_the_ledger_of_some_variables_joins_that_of_the_others(site: Site) -> None:
    site.arrive(INIT)
    site.backfill(variables=(TEMPERATURE,))
    assert pd.isna(ingested(site)[0])
    site.remove(7)
    site.backfill(variables=(RAIN,), overwrite_chunks=True)
    entry = site.ledger()
    assert entry is not None
    assert {name: known.succeeded for name, known in entry.variables.items()} == {TEMPERATURE: 10, RAIN: 8}
    assert ingested(site) == [6 * HOUR]


def test_ingested_goes_by_the_variable_that_has_least(site: Site) -> None:
    """Of the temperature there is only the analysis, of all else everything."""
    site.arrive(INIT)
    index = Path(f"{site.file(1)}.idx")
    index.write_text(index.read_text().replace(":TMP:", ":TMAX:"))
    site.update()
    assert ingested(site) == [0 * HOUR]


# Where things are kept


def test_a_length_of_a_label_that_is_about_to_be_published_stays(published: Site) -> None:
    """As it stands between the put of the length and that of the root."""
    before = ingested(published)
    published.arrive(SECOND)
    published.update(SECOND + SOON)
    shorter = published.dataset.template_config.get_template(INIT + Timedelta("1us"))
    merge_ingested_lengths(shorter, published.workspace, {INIT: np.array(3, dtype="timedelta64[h]")})
    assert before == [9 * HOUR]
    assert ingested(published) == [3 * HOUR, 9 * HOUR]


def test_replicas_are_the_same_bytes(site: Site, tmp_path: Path) -> None:
    site = replace(site, settings={"replicas": (str(tmp_path / "one"), f"file://{tmp_path / 'two'}")})
    site.arrive(INIT, SECOND)
    site.remove(4)
    site.update(SECOND + SOON)
    store = "test-gfs-forecast/v0.1.0.zarr"
    primary = objects_of(tmp_path / "primary" / store)
    assert_forecast_true(site.read(), SECOND)
    for replica in ("one", "two"):
        assert objects_of(tmp_path / replica / store) == primary
        assert list((tmp_path / replica / "test-gfs-forecast").glob("_internal/**/*.json")) == []


def test_a_bucket_holds_what_a_folder_holds(published: Site, s3: S3Bucket, tmp_path: Path) -> None:
    bucket = replace(published, settings={"store": f"{s3.url}/stores"})
    bucket.update()
    found = bucket.stores.primary
    store = objects_of(tmp_path / "primary" / "test-gfs-forecast/v0.1.0.zarr")
    assert {key: found.get(key)[0] for key, _ in found.list()} == store
    assert_forecast_true(open_published(found), INIT)


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chunks": {"init_time": 1, "lead_time": 5, "latitude": 5, "longitude": 9}}, r"temperature_2m: codecs .* in the store"),
        ({"variables": [RAIN]}, "temperature_2m is in the store and not in the template"),
        (
            {"append_dim": AppendAxis(name="init_time", start=EARLIER, frequency="6h")},
            "the archive was to start at 2026-07-29T12:00; the store starts at 2026-07-29T18:00: set REFORMATTERS_START",
        ),
    ],
    ids=["chunks", "variable", "start"],
)  # fmt: skip
@pytest.mark.parametrize("publish", [False, True])
def test_a_store_that_drifted_is_refused(
    published: Site, tmp_path: Path, change: dict[str, Any], message: str, publish: bool
) -> None:
    before = published.objects()
    drifted = replace(published, dataset=gfs_forecast(tmp_path / "drifted", **change))
    with pytest.raises(TemplateDrift, match=message):
        drifted.update() if publish else drifted.backfill(overwrite_chunks=True)
    with pytest.raises(TemplateDrift, match=message):
        drifted.backfill(overwrite_metadata=True)
    assert published.objects() == before


def test_a_store_of_another_version_is_refused(published: Site) -> None:
    root = Path(published.stores.primary.url) / "zarr.json"
    root.write_text(root.read_text().replace('"dataset_version": "0.1.0"', '"dataset_version": "0.0.9"'))
    with pytest.raises(
        TemplateDrift, match=r"'test-gfs-forecast' version '0.1.0' was asked for; found .* version '0.0.9'"
    ):
        published.update()


def test_labels_of_other_dimensions_are_compared(published: Site) -> None:
    zarr.open_array(published.stores.primary.url, path="latitude", mode="r+")[3] = 61.0
    with pytest.raises(
        TemplateDrift, match=r"latitude has label 60.0 at position 3 in the template; the store has 61.0 there"
    ):
        published.update()


def plan(site: Site, label: str, *, publish: bool, **options: Any) -> None:
    plan_partition(
        site.dataset,
        site.workspace,
        PartitionRequest(label=pd.Timestamp(label).as_unit("us"), publish=publish, **options),
        THIRD + SOON,
    )


@pytest.mark.parametrize("publish", [False, True])
@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("2026-07-29T12", "partition 2026-07-29T12:00 of .* was asked for; its archive starts at 2026-07-29T18:00"),
        (
            "2026-07-30T01",
            "partitions start every 6 h from .*: this time lies in partition 2026-07-30T00:00",
        ),
        ("2026-07-30T18", "it is 2026-07-30T11:00 now and nothing of it can exist yet"),
    ],
)
def test_labels_that_are_none_are_refused(site: Site, label: str, message: str, publish: bool) -> None:
    with pytest.raises(TimeNotOnGrid, match=message):
        plan(site, label, publish=publish)
    assert site.objects() == {}


def test_a_gap_is_refused(published: Site) -> None:
    with pytest.raises(
        PublishGap, match=r"partition 2026-07-30T06:00 .* the store ends before 2026-07-30T00:00, .*leave a hole"
    ):
        plan(published, "2026-07-30T06", publish=True)


def test_a_store_too_short_for_a_backfill_names_the_job_that_extends_it(published: Site) -> None:
    with pytest.raises(
        StoreTooShort, match=r"ends before 2026-07-30T00:00: extend it with job 'test_gfs_forecast__initialise'"
    ):
        plan(published, "2026-07-30T00", publish=False)


def test_metadata_is_extended_by_one_shard_into_the_future_at_most(published: Site) -> None:
    dataset, before = published.dataset, published.objects()
    now = SECOND + HOUR
    told = (
        r"labels before 2027-07-29T18:00 was asked for; it is 2026-07-30T01:00 now, and metadata that readers see is never cut "
        r"short: give an end of at most 2026-07-30T07:00, one shard ahead"
    )
    with pytest.raises(TimeNotOnGrid, match=told):
        dataset.initialise(published.workspace, INIT + Timedelta("365D"), now)
    assert published.objects() == before
    assert dataset.initialise(published.workspace, now + 6 * HOUR, now) == 3


def test_metadata_that_reaches_too_far_is_refreshed_as_far_as_it_reaches(published: Site) -> None:
    put_template(published.dataset.template_config.get_template(INIT + Timedelta("9D")), published.workspace)
    assert published.backfill(SECOND, overwrite_metadata=True).partitions == []
    assert published.read().sizes["init_time"] == 36


def test_a_written_partition_is_kept_where_that_is_asked(published: Site) -> None:
    published.dataset.initialise(published.workspace, THIRD, THIRD)
    with pytest.raises(StoreExists, match="without overwrite_chunks; the ledger says it was written before"):
        plan(published, "2026-07-29T18", publish=False, overwrite_chunks=False)
    plan(published, "2026-07-30T00", publish=False, overwrite_chunks=False)


@pytest.mark.parametrize(
    ("request_", "kind", "message"),
    [
        ({"variables": ("snow",)}, UnknownVariable, r"\['snow'\] were asked for; test-gfs-forecast has precipitation_surface,"),
        ({"contains": (INIT + HOUR,)}, TimeNotOnGrid, r"--contains 2026-07-29T19:00 .* nearest are 2026-07-29T18:00 and"),
        ({"contains": (EARLIER,)}, TimeNotOnGrid, r"--contains 2026-07-29T12:00 .*the archive starts at 2026-07-29T18:00"),
        ({"end": THIRD + 7 * HOUR}, TimeNotOnGrid, r"partition 2026-07-30T12:00 .*it is 2026-07-30T11:00 now and nothing of it"),
        ({"end": INIT}, TimeNotOnGrid, r"labels before 2026-07-29T18:00 was asked for; its archive starts at 2026-07-29T18:00"),
    ],
    ids=["variable", "off the grid", "too early", "future", "no labels"],
)  # fmt: skip
def test_a_bad_request_is_refused_before_anything_is_written(
    site: Site, request_: dict[str, Any], kind: type[Refused], message: str
) -> None:
    site.arrive(INIT)
    with pytest.raises(kind, match=message):
        site.backfill(THIRD + SOON, **request_)
    assert site.objects() == {}


def test_published_labels_are_never_withdrawn(analysis: Site) -> None:
    """What the ledger knows is not read again; where it is lost, all is, and the metadata stays where it was."""
    analysis.update(INIT + 4 * HOUR)
    before = metadata(analysis)
    for lead in (3, 4):
        analysis.file(lead).unlink()
    analysis.update(INIT + 4 * HOUR)
    assert metadata(analysis) == before
    assert analysis.read()[TEMPERATURE].isel(time=4).notnull().all()
    (ledger,) = (analysis.folder / "primary").rglob("ledger/*.json")
    ledger.unlink()
    with pytest.raises(Retraction, match="was to be published with 3 labels of time; the store publishes 5"):
        analysis.update(INIT + 4 * HOUR)
    assert metadata(analysis) == before


def test_an_upstream_folder_that_is_not_there_is_refused(site: Site, tmp_path: Path) -> None:
    nowhere = Settings(store=str(tmp_path / "primary"), upstream=str(tmp_path / "nowhere"), tmp=str(tmp_path / "tmp"))
    with pytest.raises(UpstreamMissing, match=rf"upstream '.*nowhere' is no folder, and was to hold '{PRIMARY}'"):
        site.dataset.workspace(nowhere)
    (tmp_path / "nowhere" / "gfs").mkdir(parents=True)
    with pytest.raises(UpstreamMissing, match=r"upstream '.*nowhere' holds none of .*; check REFORMATTERS_UPSTREAM"):
        site.dataset.workspace(nowhere)


@pytest.mark.parametrize("act", [Site.backfill, Site.update])
def test_missing_credentials_are_not_an_absent_store(
    site: Site, monkeypatch: pytest.MonkeyPatch, act: Callable[[Site], object]
) -> None:
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", UNREACHABLE)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    site.arrive(INIT)
    with pytest.raises(
        StoreAccessDenied, match=r"s3://nobodys/stores/.* was denied: .*AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
    ):
        act(replace(site, settings={"store": "s3://nobodys/stores"}))
    assert site.tmp_files() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a disk of so many KiB."""
    folder = tmp_path / "small-disk"
    folder.mkdir()

    def mount(kilobytes: int) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(folder)]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
        return folder

    yield mount
    subprocess.run(["umount", str(folder)], capture_output=True, check=False)


@pytest.mark.parametrize(
    ("kilobytes", "message"),
    [
        (40, r"region 2026-07-29 18:00:00 of test-gfs-forecast needs 54,720 bytes in .*; \d\d,\d{3} are free: point"),
        (64, r"was being written; the disk is full: free space or point REFORMATTERS_TMP at a larger disk"),
        (80, r"was being written; the disk is full"),
    ],
)
def test_a_full_tmp_disk_is_said_and_left_empty(
    site: Site, small_disk: Callable[[int], Path], kilobytes: int, message: str
) -> None:
    disk = small_disk(kilobytes)
    site.arrive(INIT)
    full = replace(site, settings={"tmp": str(disk)})
    with pytest.raises(TmpDiskFull, match=message):
        full.job().process()
    assert list(disk.iterdir()) == []


def test_a_full_tmp_disk_stops_a_backfill(site: Site, small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(24)
    site.arrive(INIT)
    with pytest.raises(TmpDiskFull, match="the disk is full"):
        replace(site, settings={"tmp": str(disk)}).backfill()
    assert site.objects() == {}
    assert list(disk.iterdir()) == []


def test_hours_that_were_never_there_stay_nan(site: Site) -> None:
    """Chunks that hold nothing are written all the same, so that a missing object means "never written"."""
    site.arrive(INIT, leads=[0])
    site.update()
    ds = site.read()
    assert np.isnan(ds[TEMPERATURE].isel(lead_time=slice(1, None))).all()
    assert len([key for key in chunks(site) if f"/{TEMPERATURE}/c/" in key]) == 2
    assert not [key for key in chunks(site) if f"/{RAIN}/c/" in key]
