"""Which partitions a backfill means, which store it may fill, and which run it resumes."""

from typing import Any

import pytest

from reformatters_dagster.core.ledger.entries import write_ledger
from reformatters_dagster.core.ledger.progress import UpdateProgressTracker
from reformatters_dagster.core.run.backfill import BackfillRequest, plan_backfill
from reformatters_dagster.core.spec.errors import NoPartition, StoreExists, TimeNotOnGrid, UnknownRun
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from tests.datasets import INIT, RAIN, SECOND, SOON, TEMPERATURE, THIRD, Site, assert_forecast_true

pytest_plugins = ["tests.datasets"]

HOUR = Timedelta("1h")


@pytest.fixture
def published(site: Site) -> Site:
    """One init time, complete, in the store."""
    site.arrive(INIT)
    site.backfill()
    return site


def begin_upload(site: Site, root_run: str, variable: str) -> None:
    """What a run leaves that is killed while it uploads."""
    coord = site.dataset.region_job.source_file_coord
    UpdateProgressTracker(site.stores.internal, partition_key(SECOND), root_run, coord).begin(variable, [], None)


def test_a_standing_store_names_the_runs_that_can_be_gone_on_with(published: Site) -> None:
    for run in ("cli-one", "of-dagster"):
        begin_upload(published, run, RAIN if run == "cli-one" else TEMPERATURE)
    with pytest.raises(StoreExists, match=r"extend it; or --resume cli-one to resume a run that ended early$"):
        published.backfill()


def test_a_store_of_metadata_alone_is_filled_by_the_second_try(site: Site) -> None:
    assert list(site.backfill(end=INIT + HOUR).failures) == [INIT]
    site.arrive(INIT, SECOND)
    report = site.backfill(SECOND + SOON, start=SECOND, end=SECOND + HOUR)
    assert (report.partitions, report.failures) == ([SECOND], {})
    ds = site.read()
    assert list(ds.indexes["init_time"]) == [INIT, SECOND]
    assert_forecast_true(ds, SECOND)
    with pytest.raises(StoreExists, match="one stands already"):
        site.backfill(SECOND + SOON)


def test_a_store_of_metadata_alone_is_not_shortened(site: Site) -> None:
    site.dataset.initialise(site.workspace, THIRD, THIRD)
    site.arrive(INIT)
    assert site.backfill(THIRD, end=SECOND).partitions == [INIT]
    assert list(site.read().indexes["init_time"]) == [INIT, SECOND]


def test_shards_that_no_ledger_knows_are_not_written_over_unasked(published: Site) -> None:
    published.stores.internal.delete(f"ledger/{partition_key(INIT)}.json")
    before = published.objects()
    with pytest.raises(StoreExists, match="one stands already"):
        published.backfill()
    assert published.objects() == before


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            {"start": SECOND, "end": INIT},
            "from --start 2026-07-30T00:00 to before --end 2026-07-29T18:00 were asked for; --start 2026-07-30T00:00 is not "
            "before --end 2026-07-29T18:00: correct one of them",
        ),
        ({"start": INIT, "end": INIT}, "--start 2026-07-29T18:00 is not before --end 2026-07-29T18:00"),
        (
            {"start": THIRD},
            "of test-gfs-forecast with --start 2026-07-30T06:00 were asked for; the store would have labels from "
            "2026-07-29T18:00 to before 2026-07-29T23:00, none of which is chosen: correct the times$",
        ),
        (
            {"contains": (THIRD,), "end": SECOND},
            "with --end 2026-07-30T00:00 --contains 2026-07-30T06:00 were asked for",
        ),
        ({"contains": ()}, "with no --contains were asked for"),
    ],
)
def test_times_that_hold_no_partition_make_no_store(site: Site, request_: dict[str, Any], message: str) -> None:
    with pytest.raises(NoPartition, match=message):
        site.backfill(**request_)
    assert site.objects() == {}


def test_times_past_a_standing_store_say_how_to_extend_it(published: Site) -> None:
    advice = "the store has labels .*: correct the times, or extend the store by --overwrite-chunks --overwrite-metadata --end$"
    with pytest.raises(NoPartition, match=advice):
        published.backfill(SECOND + SOON, overwrite_chunks=True, start=SECOND)


def test_a_plan_refuses_an_end_before_the_archive_as_the_backfill_does(site: Site) -> None:
    request = BackfillRequest(end=INIT)
    with pytest.raises(TimeNotOnGrid, match="with labels before 2026-07-29T18:00 was asked for; its archive starts at"):
        plan_backfill(site.dataset, site.workspace, request, SECOND)
    with pytest.raises(TimeNotOnGrid, match="with labels before 2026-07-29T18:00 was asked for; its archive starts at"):
        site.backfill(SECOND, end=INIT)
    assert site.objects() == {}


def resume(site: Site, run: str, **request: Any) -> list[Timestamp]:
    """Partitions that a backfill would write which resumes a run."""
    return plan_backfill(
        site.dataset, site.workspace, BackfillRequest(**request), SECOND + SOON, resumes=run
    ).partitions


def test_a_run_that_left_nothing_is_not_gone_on_with(site: Site) -> None:
    unknown = (
        "run 'foo' of test-gfs-forecast was to be resumed; there is no unfinished run 'foo': correct the name, or "
        "leave out --resume to begin anew"
    )
    with pytest.raises(UnknownRun, match=unknown):
        resume(site, "foo")
    for _ in ("metadata alone", "a partition"):
        site.backfill()
        with pytest.raises(UnknownRun, match=unknown):
            resume(site, "foo")
        site.arrive(INIT)
    begin_upload(site, "cli-one", RAIN)
    with pytest.raises(UnknownRun, match="no unfinished run 'foo'; those there are: cli-one: correct the name"):
        resume(site, "foo", overwrite_chunks=True)


def test_a_lease_that_cannot_be_read_hides_no_other(published: Site) -> None:
    published.stores.internal.put(f"lease/{partition_key(SECOND)}.json", b"")
    published.stores.internal.put(f"lease/{partition_key(INIT)}.json", b'{"holder": "cli-one", "beats": 1}')
    assert resume(published, "cli-one") == [INIT]


@pytest.mark.parametrize("left", ["progress", "lease", "ledger", "shards"])
def test_a_run_that_left_something_is_gone_on_with(published: Site, left: str) -> None:
    internal, entry = published.stores.internal, published.ledger()
    assert entry is not None
    if left == "progress":
        begin_upload(published, "cli-one", RAIN)
    elif left == "lease":
        internal.put(f"lease/{partition_key(INIT)}.json", b'{"holder": "cli-one", "beats": 1}')
    elif left == "ledger":
        write_ledger(internal, entry.model_copy(update={"root_run": "cli-one"}))
    else:
        internal.delete(f"ledger/{partition_key(INIT)}.json")
    assert resume(published, "cli-one") == [INIT]
