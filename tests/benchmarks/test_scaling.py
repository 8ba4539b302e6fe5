"""The tables of `docs/scaling.md`: what they are worked out from, and what the simulations show."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import scaling_run
from benchmarks.figures import measured
from benchmarks.scaling import Backfill, Partition, Speeds, backfills
from benchmarks.scaling_queue import (
    EXCLUSIVE,
    HOUR,
    LIMITS,
    RUNS,
    Outcome,
    Queue,
    Scenario,
    Service,
    VirtualRuns,
    backfill_tags,
    services,
    simulate,
)
from benchmarks.scaling_store import throttle
from dataset_defs.contrib.mrms_guam import DATASET as MRMS
from dataset_defs.noaa.gfs.forecast import DATASET as GFS
from dataset_defs.noaa.hrrr.forecast import DATASET as HRRR
from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.orchestration.names import BACKFILL_TAG, EXCLUSIVE_TAG, PRIORITY_TAG
from tests.orchestration.chart import rendered_instance

README = Path(__file__).parents[2] / "benchmarks" / "README.md"


@pytest.fixture(scope="module")
def worked_out() -> dict[str, Backfill]:
    counted = {dataset.dataset_id: Partition.of(dataset) for dataset in (GFS, HRRR, MRMS)}
    return backfills(counted, Speeds.of_readme())


@pytest.fixture(scope="module")
def kept(worked_out: dict[str, Backfill]) -> list[Service]:
    return services(worked_out)


def run(kept: list[Service], **scenario: object) -> Outcome:
    return simulate(Scenario("test", **scenario), kept, backfill_tags(GFS))  # type: ignore[arg-type]


def test_a_partition_is_counted_by_the_hooks_of_its_dataset(worked_out: dict[str, Backfill]) -> None:
    gfs, mrms = worked_out[GFS.dataset_id].one, worked_out[MRMS.dataset_id].one
    # 25 variables of 209 lead times, ten of which begin with the second; 2 x 2 objects of 721 x 1440 points
    assert (gfs.messages, gfs.files, gfs.groups) == (25 * 209 - 10, 209 + 208, 2)
    assert (gfs.values, gfs.objects) == (25 * 209 * 721 * 1440, 50)
    assert [gfs.partitions, mrms.partitions] == [4 * 2040, 1644]  # from their templates' starts to `UNTIL`
    assert (mrms.messages, mrms.indexes) == (24, 0)


def test_several_partitions_in_a_run_save_pods_that_start_and_no_work(worked_out: dict[str, Backfill]) -> None:
    one = worked_out[HRRR.dataset_id]
    eight = replace(one, partitions_per_run=8)
    assert one.start_share > 0.5 > 2 * eight.start_share
    assert eight.pod_hours < 0.6 * one.pod_hours
    assert eight.pod_hours > one.one.partitions * one.work / 3600
    assert (eight.puts, eight.bytes_out, eight.runs) == (one.puts, one.bytes_out, 1532)


@pytest.mark.slow
def test_datasets_declare_several_partitions_where_pods_would_start_for_longer_than_they_work() -> None:
    whole = backfills(
        {name: backfill.one for name, backfill in scaling_run.all_backfills().items()}, Speeds.of_readme()
    )
    dominated = {name for name, one in whole.items() if not one.by_group and one.start_share > 0.5}
    assert {name for name, one in whole.items() if one.one.dataset.partitions_per_run > 1} == dominated


@pytest.mark.parametrize(
    ("queued", "hours"), [(500, 2.5), pytest.param(10_000, 2.5, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_updates_keep_their_deadlines_beside_a_backfill(kept: list[Service], queued: int, hours: float) -> None:
    outcome = run(kept, backfill=queued, hours=hours)
    assert outcome.backfilled > min(queued - 1, 900)
    assert set(outcome.waits) == {MRMS.dataset_id, HRRR.dataset_id}
    assert (outcome.late, outcome.longest_wait) == (0, 0.0)
    assert outcome.updates >= 3


def test_a_simulation_always_ends_the_same(kept: list[Service]) -> None:
    assert run(kept, backfill=200, hours=6) == run(kept, backfill=200, hours=6)


def test_twelve_runs_that_hang_delay_no_update(kept: list[Service]) -> None:
    outcome = run(kept, backfill=200, hung=12, hours=6)
    assert (outcome.backfilled, outcome.late, outcome.longest_wait) == (0, 0, 0.0)


def test_without_the_limit_runs_that_hang_stop_every_update(kept: list[Service]) -> None:
    outcome = run(kept, backfill=200, hung=20, hours=6, limits=EXCLUSIVE)
    assert outcome.late == outcome.updates > 0


def test_without_limit_and_priorities_updates_wait_for_the_whole_queue(kept: list[Service]) -> None:
    outcome = run(kept, backfill=1500, hours=3, limits=EXCLUSIVE, has_priorities=False)
    assert outcome.longest_wait > 0.5 * HOUR
    assert run(kept, backfill=1500, hours=3, limits=EXCLUSIVE).longest_wait < 120


def test_the_queue_is_that_of_dagster_with_the_tags_of_our_jobs(kept: list[Service]) -> None:
    runs = VirtualRuns(Scenario("test", runs=3))
    many = [runs.enqueue({**backfill_tags(GFS), BACKFILL_TAG: "many"}) for _ in range(3)]
    gfs, again, hrrr = (runs.enqueue(service.tags) for service in (kept[0], kept[0], kept[1]))
    assert (gfs.tags[EXCLUSIVE_TAG], gfs.tags[PRIORITY_TAG], many[0].tags[PRIORITY_TAG]) == (
        GFS.dataset_id,
        "10",
        "-10",
    )
    queue = Queue(runs)
    assert queue.look(0) == [gfs, hrrr, many[0]]
    assert queue.look(0) == []
    runs.end(gfs.run_id)
    assert queue.look(0) == [again]


def test_the_deadline_is_that_of_the_validator(kept: list[Service]) -> None:
    assert [service.deadline for service in kept[:2]] == [8 * HOUR, 4 * HOUR]
    assert kept[0].period == Timedelta("6h").total_seconds()


def test_a_store_that_throttles_slows_uploads_until_runs_fail() -> None:
    rare, often, mostly = (throttle(share, variables=25, puts=20, runs=40) for share in (0.05, 0.2, 0.6))
    assert (rare.failed, often.failed, mostly.failed) == (0, 0, 1)
    assert 1 < rare.longer < often.longer < 10
    assert throttle(0.0, variables=2, puts=16, runs=1).longer == pytest.approx(1)
    assert rare == throttle(0.05, variables=25, puts=20, runs=40)


def test_figures_are_read_from_the_benchmarks(tmp_path: Path) -> None:
    found = re.search(r"\| a partition of next to no data, in-process \| ([\d.]+) \| ([\d.]+) \|", README.read_text())
    assert found is not None
    assert measured("startup", "a partition of next to no data, in-process", "wall s") == float(found[2])
    page = tmp_path / "page.md"
    page.write_text("<!-- one: begin -->\n| what | s |\n| --- | ---: |\n| a | 1,234.5 [1 to 2] |\n<!-- one: end -->\n")
    assert measured("one", "a", "s", page) == 1234.5
    for row, column in (("b", "s"), ("a", "CPU")):
        with pytest.raises(LookupError, match=f"has no number for '{row}', '{column}': measure it again"):
            measured("one", row, column, page)
    with pytest.raises(LookupError, match=r"has no section 'two': run `python -m benchmarks two --write`"):
        measured("two", "a", "s", page)


@pytest.mark.slow
def test_the_page_holds_what_is_worked_out_today() -> None:
    page = scaling_run.PAGE.read_text()
    for name, text in scaling_run.sections(Path("unused"), print, ["backfills", "starts", "store"]):
        assert f"<!-- {name}: begin -->\n{text}<!-- {name}: end -->" in page, "python -m benchmarks scaling --write"


def test_an_unknown_section_is_refused() -> None:
    with pytest.raises(SystemExit, match=r"sections \['cost'\] were asked for; there are backfills, starts, queue"):
        next(scaling_run.sections(Path("unused"), print, ["cost"]))


def test_the_queue_has_the_limits_of_the_chart() -> None:
    config = rendered_instance()["run_coordinator"]["config"]
    assert config["tag_concurrency_limits"] == list(LIMITS)
    assert config["max_concurrent_runs"] == RUNS
