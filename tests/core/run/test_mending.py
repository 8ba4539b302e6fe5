"""A replica that lacks partitions or all history is given what it lacks, wherever its mending is cut off."""

import itertools
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from math import inf
from pathlib import Path
from threading import Barrier, Event, Lock, current_thread

import pytest

from reformatters_dagster.core.ledger.lease import DEFAULT_TERMS, LeaseTerms, hold_lease
from reformatters_dagster.core.run.comparison import check_replicas
from reformatters_dagster.core.run.mending import MENDING_SECONDS, mend_replicas
from reformatters_dagster.core.run.replicas import degraded
from reformatters_dagster.core.run.status import status
from reformatters_dagster.core.spec.errors import (
    CorruptRoot,
    StoreTooShort,
    StoreUnavailable,
)
from reformatters_dagster.core.spec.values import Timedelta
from tests.core.run.sites import (
    DAMAGED_ROOTS,
    PARTITIONS,
    STORE,
    Line,
    assert_readable_or_absent,
    copies,
    lacking,
    no_put,
)
from tests.datasets import (
    INIT,
    SECOND,
    SOON,
    TEMPERATURE,
    THIRD,
    WIND,
    Site,
    objects_of,
)
from tests.launched import launches, run
from tests.stores import Journal, Stopped

pytest_plugins = ["tests.datasets"]

HOUR = Timedelta("1h")


@DAMAGED_ROOTS
def test_a_damaged_root_is_mended(replicated: Site, root: bytes) -> None:
    (replicated.folder / "copy" / STORE / "zarr.json").write_bytes(root)
    replicated.update(SECOND + SOON)
    primary, replica = copies(replicated)
    assert primary == replica


def test_an_empty_replica_gets_the_whole_history(history: Site, line: Line) -> None:
    """Its readers see no store, or all of it, before every put."""
    seen: list[int | None] = []

    def look(url: str, key: str) -> None:
        line(url, key)
        if "/copy/" in url and (found := assert_readable_or_absent(history)) is not None:
            seen.append(found.sizes["init_time"])

    replace(history, before_put=look).update(SECOND + SOON)
    assert set(seen) == {2}
    assert_readable_or_absent(history)
    primary, replica = copies(history)
    assert primary == replica
    assert degraded(history.stores) == []
    assert history.stores.internal.list("filling") == []
    assert check_replicas(history.stores, THIRD).passed


@pytest.mark.parametrize("puts", [0, 3, 8, *(pytest.param(puts, marks=pytest.mark.slow) for puts in (1, 5, 12))])
def test_filling_a_replica_that_fails_goes_on_later(history: Site, line: Line, puts: int) -> None:
    """Until it is filled, every partition it lacks is shown, and nothing else is written to it."""
    line.puts_left = puts
    history.update(THIRD + SOON)
    assert history.read().sizes["init_time"] == 3
    assert assert_readable_or_absent(history) is None
    assert lacking(history) == PARTITIONS[min(puts // 2, 1) :]
    told = status(history.dataset, history.stores).degraded
    assert [one.partition for one in told] == lacking(history)
    assert "the primary is being copied to it, oldest partition first" in told[0].reason
    assert not check_replicas(history.stores, THIRD).passed
    line.puts_left = 10**9
    history.update(THIRD + SOON)
    primary, replica = copies(history)
    assert primary == replica
    assert degraded(history.stores) == []


def test_filling_that_is_killed_goes_on_where_it_ended(history: Site) -> None:
    """At every put to the replica; shards that were copied are not copied again, but for the last."""
    copied: list[str] = []
    lock = Lock()
    for puts in itertools.count(1):
        before = len(copied)

        def die(url: str, key: str, last: int = before + puts) -> None:
            if "/copy/" in url:
                with lock:
                    if len(copied) == last:
                        raise Stopped(key)
                    copied.append(key)

        try:
            replace(history, before_put=die).update(SECOND + SOON)
        except Stopped:
            assert len(copied) == before + puts
            assert_readable_or_absent(history)
            continue
        break
    primary, replica = copies(history)
    assert primary == replica
    assert copied.count(f"{TEMPERATURE}/c/0/0/0/0") <= 2
    assert puts > 3


def test_objects_are_copied_side_by_side_and_metadata_after_what_it_describes(history: Site) -> None:
    """The first objects of every part are slow, so that whatever does not wait for them overtakes."""
    began: list[str] = []
    ended: list[str] = []
    beside = Barrier(2, timeout=30)

    def wait(url: str, key: str) -> None:
        if "/copy/" not in url:
            return
        began.append(key)
        if key.startswith(f"{TEMPERATURE}/c/0/"):
            beside.wait()
        time.sleep(0.05 if key.endswith("/0") else 0)
        ended.append(key)

    replace(history, before_put=wait).update(SECOND + SOON)
    mended = began[: began.index("zarr.json") + 1]
    parts = [[part_of(key) for key in keys[: len(mended)]] for keys in (began, ended)]
    assert parts == [sorted(part) for part in parts]
    assert set(parts[0]) == {0, 1, 2, 3}


def part_of(key: str) -> int:
    """Shards, coordinates, documents of arrays, root."""
    if key.endswith("zarr.json"):
        return 2 if "/" in key else 3
    return 0 if key.startswith(TEMPERATURE) else 1


def test_what_is_under_way_when_a_copy_fails_is_waited_for(history: Site) -> None:
    """It would be written beside another run once the lease has ended."""
    ended: list[str] = []

    def fail(url: str, key: str) -> None:
        if "/copy/" in url and key.endswith("/0"):
            raise StoreUnavailable(f"{key} could not be written")
        if "/copy/" in url:
            time.sleep(0.3)
            ended.append(key)
        elif key.startswith("lease/"):
            leased.append(key)

    leased: list[str] = []
    mend_replicas(replace(history, before_put=fail).stores, "run", DEFAULT_TERMS)
    assert ended == [f"{TEMPERATURE}/c/0/0/0/1"]
    assert len(leased) == 1
    assert history.stores.internal.list("lease") == []


def test_one_update_copies_for_so_long(history: Site) -> None:
    """The first partition of what is lacking, and no other one after the time is up."""
    ticks = itertools.count(step=MENDING_SECONDS)
    # On this clock a lease would be over at every look: it is not asked how long it lives.
    hasty = history.having(lease_terms=LeaseTerms(put_timeout=inf, clock=lambda: next(ticks)))
    hasty.update(SECOND + SOON)
    assert lacking(history) == PARTITIONS[1:2]
    assert assert_readable_or_absent(history) is None
    hasty.update(SECOND + SOON)
    assert lacking(history) == []
    primary, replica = copies(history)
    assert primary == replica


@pytest.mark.parametrize("stalled_at", ["init_time/c/0", f"{TEMPERATURE}/zarr.json", "zarr.json"])
def test_a_slower_mender_takes_nothing_back(history: Site, stalled_at: str) -> None:
    """While it stalls, an update mends the replica too, and publishes a label more."""
    reached, go_on = Event(), Event()

    def stall(url: str, key: str) -> None:
        if "/copy/" in url and key == stalled_at and current_thread().name.startswith("slow"):
            reached.set()
            assert go_on.wait(60)

    site = replace(history, before_put=stall)
    with ThreadPoolExecutor(1, "slow") as pool:
        slow = pool.submit(mend_replicas, site.stores, "slow", site.dataset.lease_terms)
        try:
            assert reached.wait(60)
            site.update(THIRD + SOON)
        finally:
            go_on.set()
        slow.result()
    seen = assert_readable_or_absent(site)
    assert seen is not None
    assert seen.sizes["init_time"] == 3
    primary, replica = copies(site)
    assert primary == replica
    assert degraded(site.stores) == []


def test_a_shard_that_waits_for_a_file_is_updated_for_a_replica_that_lags(hourly: Site, line: Line) -> None:
    """Its next file may take until it is given up, and the replica is back before."""
    lagging = replace(hourly, settings={"replicas": (str(hourly.folder / "copy"),)}, before_put=line)
    site = lagging.having(replicas="best_effort")
    site.update(INIT + 3 * HOUR)
    now = INIT + 4 * HOUR
    (launch,) = launches(site, now)
    line.puts_left = 0
    run(site, launch, now)
    assert launches(site, now) == [], "it ran a moment ago"
    later = now + site.dataset.heal_cool_down
    (launch,) = launches(site, later)
    assert launch.reason == "partitions that replicas lack: 1"
    assert launch.arrivals.fingerprint.startswith("replicas-"), "attempts at it are no attempts at the files"
    assert launches(site, later) == [launch]
    assert launches(site.having(replicas="required"), later) == []
    line.puts_left = 10**9
    run(site, launch, later)
    primary, replica = (objects_of(site.folder / place) for place in ("primary", "copy"))
    assert replica == {key: data for key, data in primary.items() if "_internal" not in key}
    site.remove(5)
    assert launches(site, later + site.dataset.heal_cool_down) == [], "the replica lags no more"


def test_what_is_rewritten_while_a_replica_is_filled_is_copied_again(history: Site, line: Line) -> None:
    line.puts_left = 2
    history.update(SECOND + SOON)
    assert lacking(history) == PARTITIONS[1:2]
    history.remove(3)
    history.backfill(SECOND + SOON, contains=(INIT,), overwrite_chunks=True, force=True)
    assert lacking(history) == PARTITIONS[:2]
    line.puts_left = 10**9
    history.update(SECOND + SOON)
    primary, replica = copies(history)
    assert primary == replica


def test_a_replica_that_is_wiped_while_it_is_filled_begins_anew(history: Site, line: Line) -> None:
    line.puts_left = 2
    history.update(SECOND + SOON)
    shutil.rmtree(history.folder / "copy")
    line.puts_left = 10**9
    history.update(SECOND + SOON)
    primary, replica = copies(history)
    assert primary == replica


def test_a_partition_another_run_writes_is_copied_later(history: Site) -> None:
    beats = itertools.count()
    terms = LeaseTerms(sleep=lambda _: _beat(history, next(beats)))
    with hold_lease(history.stores.internal, PARTITIONS[0], "other", terms=terms):
        history.having(lease_terms=terms).update(SECOND + SOON)
        assert assert_readable_or_absent(history) is None
        assert lacking(history) == PARTITIONS[:2]
    history.update(SECOND + SOON)
    assert lacking(history) == []


def _beat(site: Site, number: int) -> None:
    """What the holder of a lease does now and then."""
    document = f'{{"holder": "other", "attempt": "", "beats": {number + 100}}}'
    site.stores.internal.put(f"lease/{PARTITIONS[0]}.json", document.encode())


@pytest.mark.parametrize("published", [False, True])
def test_a_mark_that_cannot_be_read_is_a_mark(replicated: Site, line: Line, *, published: bool) -> None:
    """A power cut leaves an object without content."""
    line.puts_left = 0

    def die(url: str, key: str) -> None:
        line(url, key)
        if not published and key == "zarr.json":
            raise Stopped(key)

    with nullcontext() if published else pytest.raises(Stopped):
        replace(replicated, before_put=die).update(SECOND + SOON)
    internal = replicated.stores.internal
    (mark,) = [key for key, _ in internal.list("degraded") if "2026-07-30" in key]
    internal.put(mark, b"")
    (told,) = [one for one in degraded(replicated.stores) if one.partition == PARTITIONS[1]]
    assert (told.replica, told.shard) == (replicated.stores.replicas[0].url, 1)
    assert told.reason == "the mark of what it lacks cannot be read"
    line.puts_left = 10**9
    replicated.update(SECOND + SOON)
    assert degraded(replicated.stores) == []
    primary, replica = copies(replicated)
    assert primary == replica


def test_a_mark_of_nobody_stops_nothing(replicated: Site) -> None:
    replicated.stores.internal.put(f"degraded/x/{PARTITIONS[0]}.json", b"")
    replicated.update(SECOND + SOON)
    assert [(one.replica, one.partition, one.shard) for one in degraded(replicated.stores)] == [("x", PARTITIONS[0], 0)]
    primary, replica = copies(replicated)
    assert primary == replica


def test_of_a_replica_whose_note_cannot_be_read_nothing_is_copied(history: Site, line: Line) -> None:
    line.puts_left = 2
    history.update(SECOND + SOON)
    ((note, _),) = history.stores.internal.list("filling")
    history.stores.internal.put(note, b"")
    assert lacking(history) == PARTITIONS[:2]
    line.puts_left = 10**9
    history.update(SECOND + SOON)
    assert history.stores.internal.list("filling") == []
    primary, replica = copies(history)
    assert primary == replica


def test_a_replica_that_was_left_out_for_a_while_gets_what_it_lacks(replicated: Site) -> None:
    """Its own metadata says from where on."""
    replicated.arrive(THIRD)
    replace(replicated, settings={}).update(THIRD + SOON)
    journal = Journal()
    replace(replicated, before_put=journal).update(THIRD + SOON)
    primary, replica = copies(replicated)
    assert primary == replica
    copied = [key for url, key in journal.puts if "/copy/" in url]
    assert f"{TEMPERATURE}/c/1/0/0/0" in copied
    assert f"{TEMPERATURE}/c/0/0/0/0" not in copied


@pytest.mark.parametrize("labels", [b"", b"damaged"])
def test_a_replica_without_readable_labels_is_filled_anew(replicated: Site, labels: bytes) -> None:
    (replicated.folder / "copy" / STORE / "init_time/c/0").write_bytes(labels)
    told = rf"copy/{STORE}/init_time/c/0 was to be read as the first labels of a store; it is none"
    with pytest.raises(CorruptRoot, match=told):
        replace(replicated.having(replicas="required"), before_put=no_put).update(SECOND + SOON)
    replicated.update(SECOND + SOON)
    primary, replica = copies(replicated)
    assert primary == replica


@pytest.mark.parametrize("key", [f"{TEMPERATURE}/zarr.json", "init_time/zarr.json", "ingested_forecast_length/c/0"])
@pytest.mark.parametrize("replicas", ["best_effort", "required"])
def test_damaged_metadata_of_a_replica_is_put_anew(replicated: Site, key: str, replicas: str) -> None:
    """Lengths of earlier init times too, which only the stores have."""
    (replicated.folder / "copy" / STORE / key).write_bytes(b"{")
    replicated.having(replicas=replicas).update(SECOND + SOON)
    assert replicated.read().sizes["init_time"] == 2
    primary, replica = copies(replicated)
    assert primary == replica


ADDING = {"overwrite_chunks": True, "overwrite_metadata": True, "variables": (WIND,)}


def test_a_replica_that_lacks_a_variable_gets_its_history(wider: Site) -> None:
    replace(wider, settings={}).backfill(INIT + SOON, **ADDING)
    with pytest.raises(StoreTooShort, match="the store there has 9 arrays and 1 labels"):
        wider.having(replicas="required").update(SECOND + SOON)
    wider.arrive(THIRD)
    wider.update(SECOND + SOON)
    primary, replica = copies(wider)
    assert primary == replica


def test_best_effort_fills_a_replica_that_may_then_be_required(history: Site) -> None:
    """The first way of docs/operations.md."""
    history.update(SECOND + SOON)
    history.having(replicas="required").update(THIRD + SOON)
    assert lacking(history) == []
    assert assert_readable_or_absent(history) is not None
    primary, replica = copies(history)
    assert primary == replica


def test_a_replica_may_be_copied_by_another_tool(history: Site) -> None:
    """The second way: all but the root, then the root."""
    source, target = (history.folder / base / STORE for base in ("primary", "copy"))
    shutil.copytree(source, target, ignore=lambda folder, _: ["zarr.json"] if Path(folder) == source else [])
    assert assert_readable_or_absent(history) is None
    shutil.copyfile(source / "zarr.json", target / "zarr.json")
    history.having(replicas="required").update(THIRD + SOON)
    primary, replica = copies(history)
    assert primary == replica
    assert check_replicas(history.stores, THIRD).passed
