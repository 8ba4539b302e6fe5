"""A partition is tried again at once, then less and less often; what cannot be used is given up in time."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from reformatters_dagster.core.spec.axes import AppendAxis
from reformatters_dagster.core.spec.errors import NothingSucceeded
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.orchestration.names import (
    ATTEMPT_TAG,
    DATASET_TAG,
    FINGERPRINT_TAG,
)
from reformatters_dagster.orchestration.resources import utc_now
from reformatters_dagster.sample_upstream import write_sample_upstream
from tests.datasets import (
    LEADS,
    NOMADS,
    PRIMARY,
    TEMPERATURE,
    WIND,
    assert_forecast_true,
    gfs_forecast,
)
from tests.datasets import STEP as SAMPLE_STEP
from tests.orchestration.watched import FIRST, SECOND, Watched, only, settings_of, skipped

pytest_plugins = ["tests.datasets", "tests.stores"]


def test_a_failed_update_is_tried_again_at_once_and_then_ever_less_often(watched: Watched) -> None:
    watched.announce(FIRST)
    keys = [str(request.run_key) for request in watched.fail("upstream", 3, Timedelta("5min"))]
    assert [key[-2:] for key in keys] == ["#1", "#2", "#3"]
    again = utc_now() + Timedelta("10min")
    waits = skipped(watched.tick())
    assert f"{partition_key(FIRST)} ran 3 times with the files that are there" in waits
    assert any(f"it is tried again at {at:%Y-%m-%dT%H:%M}" in waits for at in (again, again - Timedelta("1min")))
    watched.announce(FIRST, leads=[9], content=b"again")
    assert str(only(watched.tick()).run_key).endswith("#1")


@pytest.mark.parametrize("kind", ["upstream", "heal"])
@pytest.mark.parametrize(
    ("times", "cool_down"), [(3, "15min"), (4, "30min"), (5, "1h"), (7, "4h"), (8, "6h"), (24, "6h")]
)
def test_it_is_never_given_up_while_its_files_are_there(
    watched: Watched, kind: str, times: int, cool_down: str
) -> None:
    watched.announce(FIRST)
    if kind == "heal":
        watched.publish(FIRST)
    requests = watched.fail(kind, times, Timedelta(cool_down) + Timedelta("1min"))
    last = only(watched.tick(kind))
    assert [str(request.run_key).rpartition("#")[2] for request in [*requests, last]] == [
        str(n + 1) for n in range(times + 1)
    ]
    watched.record_run(last, dg.DagsterRunStatus.FAILURE, kind, ago=Timedelta(cool_down) - Timedelta("1min"))
    assert f"ran {times + 1} times" in skipped(watched.tick(kind))


def test_runs_that_were_deleted_leave_no_run_key_to_be_used_twice(watched: Watched) -> None:
    """Dagster launches nothing for a run key that it has a run of."""
    watched.announce(FIRST)
    old = watched.fail("upstream", 6, Timedelta("7h"))
    for run in watched.deployment.instance.get_runs()[1:]:
        watched.deployment.instance.delete_run(run.run_id)
    assert str(only(watched.tick()).run_key).endswith("#7")
    assert len({request.run_key for request in old}) == 6


def test_runs_of_another_dataset_with_the_same_files_do_not_count(watched: Watched) -> None:
    watched.announce(FIRST)
    request = only(watched.tick())
    theirs = request.with_replaced_attrs(tags={**request.tags, DATASET_TAG: "test-gfs-other"})
    for _ in range(3):
        watched.record_run(theirs, dg.DagsterRunStatus.FAILURE)
    assert only(watched.tick()) == request


def test_what_cannot_be_used_is_accepted_once_it_was_tried_often_enough(watched: Watched) -> None:
    watched = watched.having(give_up_age=Timedelta("1h"))
    watched.announce(FIRST, content=b"no GRIB")
    assert settings_of(only(watched.tick()))["accept_missing"] is False
    watched.announce(SECOND)
    for _ in range(3):
        watched.record_run(only(watched.tick()), dg.DagsterRunStatus.CANCELED, ago=Timedelta("20D"))
    requests = watched.fail("upstream", 3, Timedelta("7h"))
    assert [settings_of(request)["accept_missing"] for request in requests] == [False] * 3
    last = only(watched.tick())
    assert settings_of(last)["accept_missing"] is True
    assert "past its give-up age" in last.tags["reformatters/reason"]
    assert "tried 3 times" in last.tags["reformatters/reason"]
    watched.deployment.run("update", FIRST, tags=dict(last.tags), **settings_of(last))
    assert list(watched.site.read().indexes["init_time"]) == [FIRST]
    entry = watched.site.ledger(FIRST)
    assert entry is not None
    assert entry.known_missing
    assert only(watched.tick()).partition_key == partition_key(SECOND)


def test_what_failed_for_another_reason_is_published_whole_and_not_known_to_be_missing(watched: Watched) -> None:
    watched = watched.having(give_up_age=Timedelta("1h"))
    write_sample_upstream(watched.site.upstream, [FIRST], LEADS, variables=[TEMPERATURE], step=SAMPLE_STEP)
    watched.announce(SECOND)
    watched.fail("upstream", 3, Timedelta("7h"))
    last = only(watched.tick())
    assert settings_of(last)["accept_missing"] is True
    watched.deployment.run("update", FIRST, tags=dict(last.tags), **settings_of(last))
    assert_forecast_true(watched.site.read(), FIRST, variables=[TEMPERATURE])
    entry = watched.site.ledger(FIRST)
    assert entry is not None
    assert not entry.known_missing


def test_attempts_with_the_files_of_another_archive_are_counted(watched: Watched) -> None:
    first, other = watched.site.dataset.archives
    keeps_all = other.model_copy(update={"newest": None})
    watched = watched.having(soft_deadline=Timedelta("1h"), archives=(first, keeps_all))
    watched.announce(FIRST)
    (watched.site.upstream / PRIMARY).rename(watched.site.upstream / "kept")
    (watched.site.upstream / NOMADS).parent.mkdir(parents=True)
    (watched.site.upstream / "kept").rename(watched.site.upstream / NOMADS)
    requests = watched.fail("upstream", 3, Timedelta("5min"))
    assert NOMADS in requests[0].tags["reformatters/reason"]
    assert "ran 3 times with the files that are there" in skipped(watched.tick())


def test_late_ones_without_later_ones_are_tried_and_not_given_up(watched: Watched) -> None:
    watched = watched.having(give_up_age=Timedelta("1h"))
    watched.announce(FIRST)
    watched.fail("upstream", 4, Timedelta("7h"))
    assert settings_of(only(watched.tick()))["accept_missing"] is False


def test_old_partitions_that_killed_runs_left_are_tried_three_times(watched: Watched, tmp_path: Path) -> None:
    """A backfill of history was killed between its upload and its commit; its note stays whatever is tried."""
    old = FIRST - Timedelta("30D")
    axis = AppendAxis(name="init_time", start=old, frequency="6h")
    history = gfs_forecast(tmp_path / "history", append_dim=axis, variables=[TEMPERATURE])
    watched = Watched(replace(watched.deployment, site=replace(watched.site, dataset=history)))
    write_sample_upstream(watched.site.upstream, [old], LEADS, variables=[TEMPERATURE], step=SAMPLE_STEP)
    watched.site.backfill(old)
    key = partition_key(old)
    note = f"progress/{key}/{TEMPERATURE}.json"
    watched.site.stores.internal.put(note, b"{}")
    requests = watched.fail("heal", 3, Timedelta("7h"))
    assert {request.partition_key for request in requests} == {key}
    assert requests[0].tags["reformatters/reason"].startswith("a run ended after it had begun to upload")
    assert f"{key} ran 3 times since a run of it ended before its commit" in skipped(watched.tick("heal"))
    watched.site.stores.internal.put(note, b"{ }")
    assert only(watched.tick("heal")).partition_key == key, "another run was killed"


def with_wind_unwritten(watched: Watched, folder: Path, *variables: str) -> Watched:
    """A partition whose files hold these variables, and of which no run has been about the wind."""
    axis = AppendAxis(name="init_time", start=FIRST, frequency="6h")
    both = gfs_forecast(folder / "both", append_dim=axis, variables=[TEMPERATURE, WIND])
    watched = Watched(replace(watched.deployment, site=replace(watched.site, dataset=both)))
    watched = watched.having(heal_cool_down=Timedelta(0))
    write_sample_upstream(watched.site.upstream, [FIRST], LEADS, variables=variables, step=SAMPLE_STEP)
    watched.site.backfill(FIRST, variables=(TEMPERATURE,))
    return watched


def test_a_heal_of_variables_that_nobody_wrote_is_of_them_alone(watched: Watched, tmp_path: Path) -> None:
    watched = with_wind_unwritten(watched, tmp_path, TEMPERATURE, WIND)
    heal = settings_of(only(watched.tick("heal")))
    assert (heal["variables"], heal["publish"], heal["keep_published"]) == ([WIND], False, True)
    watched.deployment.run("backfill", FIRST, **heal)
    assert_forecast_true(watched.site.read(), FIRST)


@pytest.mark.parametrize("ended", [dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE])
def test_variables_that_nobody_wrote_are_tried_again_whatever_ended_their_run(
    watched: Watched, tmp_path: Path, ended: dg.DagsterRunStatus
) -> None:
    watched = with_wind_unwritten(watched, tmp_path, TEMPERATURE, WIND)
    heal = only(watched.tick("heal"))
    watched.record_run(heal, ended, "heal", ago=Timedelta("1h"))
    again = only(watched.tick("heal"))
    assert settings_of(again) == settings_of(heal)
    assert again.run_key == str(heal.run_key).replace("#1", "#2")


def test_variables_that_the_files_do_not_hold_are_tried_ever_less_often(watched: Watched, tmp_path: Path) -> None:
    watched = with_wind_unwritten(watched, tmp_path, TEMPERATURE)
    heal = only(watched.tick("heal"))
    with pytest.raises(NothingSucceeded, match="none succeeded"):
        watched.deployment.run("backfill", FIRST, tags=dict(heal.tags), **settings_of(heal))
    for _ in range(2):
        watched.record_run(only(watched.tick("heal")), dg.DagsterRunStatus.FAILURE, "heal")
    reason = skipped(watched.tick("heal"))
    assert f"{partition_key(FIRST)} ran 3 times for the variables it lacks with the files that are there" in reason
    path = watched.site.file(4, FIRST)
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data + b"more")
    assert only(watched.tick("heal")).tags[FINGERPRINT_TAG] != heal.tags[FINGERPRINT_TAG]


def test_runs_of_other_variables_with_the_same_files_are_no_try(watched: Watched, tmp_path: Path) -> None:
    """The update that published the partition had the same files, and knew nothing of a variable added since."""
    watched = with_wind_unwritten(watched, tmp_path, TEMPERATURE, WIND)
    heal = only(watched.tick("heal"))
    earlier = heal.with_replaced_attrs(
        tags={FINGERPRINT_TAG: heal.tags[FINGERPRINT_TAG], ATTEMPT_TAG: "1"},
    )
    for _ in range(3):
        watched.record_run(earlier, dg.DagsterRunStatus.FAILURE)
    assert only(watched.tick("heal")) == heal
    assert str(heal.run_key) != f"{partition_key(FIRST)}@{heal.tags[FINGERPRINT_TAG]}#1"
