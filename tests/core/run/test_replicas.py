"""A replica that is down, or lacks history: it stops an update, or is marked, shown and mended, as the dataset wants it."""

import itertools
import json
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Lock
from typing import Any

import pytest
import xarray as xr

from reformatters_dagster.core.ledger.lease import DEFAULT_TERMS, LeaseTerms, hold_lease
from reformatters_dagster.core.run.backfill import BackfillRequest, plan_backfill
from reformatters_dagster.core.run.comparison import check_replicas
from reformatters_dagster.core.run.mending import MENDING_SECONDS, mend_replicas
from reformatters_dagster.core.run.plan import PartitionRequest, plan_partition
from reformatters_dagster.core.run.replicas import degraded
from reformatters_dagster.core.run.status import status
from reformatters_dagster.core.spec.errors import (
    CorruptRoot,
    StoreMissing,
    StoreTooShort,
    StoreUnavailable,
    TemplateDrift,
)
from tests.datasets import (
    INIT,
    SECOND,
    SOON,
    TEMPERATURE,
    THIRD,
    WIND,
    Sample,
    Site,
    gfs_forecast,
    objects_of,
    open_as_reader,
)
from tests.stores import Journal, Stopped

pytest_plugins = ["tests.datasets"]

type MakeSite = Callable[..., Site]


class Line:
    """The way to a replica, which may be cut after some puts."""

    def __init__(self) -> None:
        self.puts_left = 10**9
        self.lock = Lock()

    def __call__(self, url: str, key: str) -> None:
        if "/copy/" in url:
            with self.lock:
                self.puts_left -= 1
                is_cut = self.puts_left < 0
            if is_cut:
                raise StoreUnavailable(f"{url}/{key} could not be written")


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def replicated(tmp_path: Path, gfs_sample: Sample, line: Line) -> Site:
    dataset = replace(gfs_forecast(tmp_path / "templates", variables=[TEMPERATURE]), replicas="best_effort")
    made = Site(tmp_path, dataset, gfs_sample, {"replicas": (str(tmp_path / "copy"),)}, line)
    made.arrive(INIT)
    made.update()
    made.arrive(SECOND)
    return made


STORE = "test-gfs-forecast/v0.1.0.zarr"


def copies(site: Site) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Objects of the primary and of the replica."""
    return objects_of(site.folder / "primary" / STORE), objects_of(site.folder / "copy" / STORE)


def test_a_required_replica_that_is_down_stops_the_update(replicated: Site, line: Line) -> None:
    before = copies(replicated)
    line.puts_left = 0
    with pytest.raises(StoreUnavailable, match="could not be written"):
        replicated.having(replicas="required").update(SECOND + SOON)
    assert copies(replicated) == before
    assert degraded(replicated.stores) == []


@pytest.mark.parametrize("puts", [0, 6, 12, *(pytest.param(puts, marks=pytest.mark.slow) for puts in (2, 4, 8, 10))])
def test_an_update_goes_on_without_a_replica_and_the_next_mends_it(replicated: Site, line: Line, puts: int) -> None:
    """Wherever the line is cut: readers of the replica see the first init time, whole, until it is mended."""
    line.puts_left = puts
    replicated.update(SECOND + SOON)
    assert replicated.read().sizes["init_time"] == 2
    lacking = degraded(replicated.stores)
    behind = open_as_reader(replicated.stores.replicas[0].url)
    if lacking:
        assert ("2026-07-30T00:00", 1) in {(one.partition, one.shard) for one in lacking}
        assert "could not be written" in lacking[0].reason
        assert status(replicated.dataset, replicated.stores).degraded == tuple(lacking)
        assert behind.sizes["init_time"] == 1
        found = check_replicas(replicated.stores, SECOND)
        assert not found.passed
        assert "has other metadata: 1 labels of init_time, the primary 2" in found.message
    else:
        assert behind.sizes["init_time"] == 2
    line.puts_left = 10**9
    replicated.arrive(THIRD)
    replicated.update(THIRD + SOON)
    primary, replica = copies(replicated)
    assert primary == replica
    assert degraded(replicated.stores) == []
    assert check_replicas(replicated.stores, THIRD).passed


def test_a_replica_that_stays_down_is_marked_for_every_partition(replicated: Site, line: Line) -> None:
    line.puts_left = 0
    replicated.update(SECOND + SOON)
    replicated.arrive(THIRD)
    replicated.update(THIRD + SOON)
    assert {one.partition for one in degraded(replicated.stores)} >= {"2026-07-30T00:00", "2026-07-30T06:00"}
    line.puts_left = 10**9
    replicated.update(THIRD + SOON)
    primary, replica = copies(replicated)
    assert primary == replica


def test_other_bytes_and_lost_objects_are_found(replicated: Site) -> None:
    shards = sorted((replicated.folder / "copy").rglob(f"{TEMPERATURE}/c/0/0/0/*"))
    whole = shards[0].read_bytes()
    shards[0].write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    found = check_replicas(replicated.stores, INIT)
    assert not found.passed
    assert "has other bytes than the primary's" in found.message
    shards[0].unlink()
    assert "differs in 1 objects of the newest shard" in check_replicas(replicated.stores, INIT).message
    (replicated.folder / "copy/test-gfs-forecast/v0.1.0.zarr/zarr.json").unlink()
    assert "cannot be read (no store stands there)" in check_replicas(replicated.stores, INIT).message


@pytest.mark.parametrize(
    "key",
    [
        "init_time/c/0",
        "latitude/c/0",
        "valid_time/c/0/0",
        "ingested_forecast_length/c/0",
        "latitude/zarr.json",
        f"{TEMPERATURE}/zarr.json",
    ],
)
@pytest.mark.parametrize("damage", ["lost", "other"])
def test_every_object_but_shards_is_compared(replicated: Site, key: str, damage: str) -> None:
    """Those of coordinates are few and small, and what readers find data by."""
    path = replicated.folder / "copy" / STORE / key
    data = path.read_bytes()
    path.unlink()
    if damage == "other":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    found = check_replicas(replicated.stores, INIT)
    assert not found.passed
    assert f"/copy/{STORE} differs in 1 objects of coordinates and metadata, such as {key}" in found.message
    assert "copy the objects from the primary, the root zarr.json last" in found.message
    path.write_bytes(data)
    assert check_replicas(replicated.stores, INIT).passed


def damaged(site: Site, key: str) -> None:
    """Another last byte in an object of the replica; a root of the same meaning but for a label less."""
    path = site.folder / "copy" / STORE / key
    data = path.read_bytes()
    if key == "zarr.json":
        root = json.loads(data)
        root["consolidated_metadata"]["metadata"]["init_time"]["shape"] = [0]
        path.write_text(json.dumps(root))
    else:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("key", [f"{TEMPERATURE}/c/0/0/0/0", "init_time/c/0", f"{TEMPERATURE}/zarr.json", "zarr.json"])
def test_a_difference_while_a_run_is_writing_is_a_warning(replicated: Site, key: str) -> None:
    """Every update goes to the replica first, and validations run beside updates."""
    damaged(replicated, key)
    with hold_lease(replicated.stores.internal, "2026-07-30T00:00", "run"):
        found = check_replicas(replicated.stores, INIT)
    assert (found.passed, found.severity) == (False, "WARN")
    assert found.message.endswith(
        ": a run is writing partition 2026-07-30T00:00, and the comparison will be made again; a lease that a run left "
        "behind ends when its partition is written again"
    )
    assert "backfill the partition" not in found.message
    assert found.metadata == {"replicas_differing": 1}
    found = check_replicas(replicated.stores, INIT)
    assert (found.passed, found.severity) == (False, "ERROR")
    assert "backfill the partition to write all copies anew" in found.message


def test_a_run_that_ends_while_replicas_are_compared_was_writing(
    replicated: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged(replicated, "init_time/c/0")
    internal, replica = replicated.stores.internal, replicated.stores.replicas[0]
    internal.put("lease/2026-07-30T00:00.json", b"{}")
    looked = type(replica).get

    def get(self: Any, key: str) -> Any:
        internal.delete("lease/2026-07-30T00:00.json")
        return looked(self, key)

    monkeypatch.setattr(type(replica), "get", get)
    assert check_replicas(replicated.stores, INIT).severity == "WARN"


def test_a_replica_that_cannot_be_read_is_an_error_whoever_writes(replicated: Site) -> None:
    shutil.rmtree(replicated.folder / "copy")
    with hold_lease(replicated.stores.internal, "2026-07-30T00:00", "run"):
        found = check_replicas(replicated.stores, INIT)
    assert (found.passed, found.severity) == (False, "ERROR")
    assert "cannot be read (no store stands there)" in found.message


def test_leases_that_cannot_be_listed_excuse_nothing(replicated: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged(replicated, "init_time/c/0")
    looked = type(replicated.stores.internal).list

    def fails(self: Any, prefix: str = "") -> Any:
        if prefix == "lease":
            raise StoreUnavailable("out of order")
        return looked(self, prefix)

    monkeypatch.setattr(type(replicated.stores.internal), "list", fails)
    assert check_replicas(replicated.stores, INIT).severity == "ERROR"


def test_no_moment_of_an_update_is_an_error(replicated: Site) -> None:
    """Before every put; some of them find a difference, or this shows nothing."""
    seen = []

    def look(url: str, key: str) -> None:
        if "_internal" not in url:
            seen.append(check_replicas(replicated.stores, SECOND))

    replicated.remove(3, init_time=SECOND)
    replicated.update(SECOND + SOON)
    replicated.arrive(SECOND)
    replace(replicated.having(replicas="required"), before_put=look).update(SECOND + SOON)
    assert {(one.passed, one.severity) for one in seen} >= {(False, "WARN")}
    assert [one.message for one in seen if not one.passed and one.severity == "ERROR"] == []


DAMAGED_ROOTS = pytest.mark.parametrize(
    "root",
    [b"{}", b'{"attributes"', b"[]", b'{"consolidated_metadata": {}}', b'{"consolidated_metadata": {"metadata": 1}}'],
)


@DAMAGED_ROOTS
def test_a_damaged_root_is_told(replicated: Site, root: bytes) -> None:
    (replicated.folder / "copy" / STORE / "zarr.json").write_bytes(root)
    found = check_replicas(replicated.stores, INIT)
    assert not found.passed
    assert f"/copy/{STORE} cannot be read (" in found.message
    assert "zarr.json was to be read as the root of a store; it is none" in found.message


def test_whatever_breaks_the_comparison_is_told(replicated: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(type(replicated.stores.replicas[0]), "list", broken)
    found = check_replicas(replicated.stores, INIT)
    assert not found.passed
    assert "could not be compared (RuntimeError: out of order)" in found.message


@DAMAGED_ROOTS
def test_a_damaged_root_is_mended(replicated: Site, root: bytes) -> None:
    (replicated.folder / "copy" / STORE / "zarr.json").write_bytes(root)
    replicated.update(SECOND + SOON)
    primary, replica = copies(replicated)
    assert primary == replica


@pytest.fixture
def history(replicated: Site) -> Site:
    """Two init times are published, a third is there; the replica is new."""
    replicated.update(SECOND + SOON)
    replicated.arrive(THIRD)
    shutil.rmtree(replicated.folder / "copy")
    return replicated


PARTITIONS = ["2026-07-29T18:00", "2026-07-30T00:00", "2026-07-30T06:00"]


def lacking(site: Site) -> list[str]:
    return [one.partition for one in degraded(site.stores)]


def assert_readable_or_absent(site: Site) -> xr.Dataset | None:
    """What readers of the replica see: no store, or one that is the primary's so far as it reaches."""
    url = site.stores.replicas[0].url
    if not (Path(url) / "zarr.json").exists():
        return None
    seen = open_as_reader(url)
    whole = site.read().isel(init_time=slice(0, seen.sizes["init_time"]))
    xr.testing.assert_identical(seen.drop_attrs(), whole.drop_attrs())
    assert not seen[TEMPERATURE].isnull().any()
    return seen


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
    hasty = history.having(lease_terms=LeaseTerms(clock=lambda: next(ticks)))
    hasty.update(SECOND + SOON)
    assert lacking(history) == PARTITIONS[1:2]
    assert assert_readable_or_absent(history) is None
    hasty.update(SECOND + SOON)
    assert lacking(history) == []
    primary, replica = copies(history)
    assert primary == replica


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


def test_metadata_is_extended_without_a_replica_that_lags(history: Site, line: Line) -> None:
    line.puts_left = 0
    assert history.dataset.initialise(history.workspace, THIRD + SOON, THIRD + SOON) == 3
    line.puts_left = 10**9
    assert history.dataset.initialise(history.workspace, THIRD + SOON, THIRD + SOON) == 3
    assert assert_readable_or_absent(history) is None
    history.backfill(THIRD + SOON, contains=(THIRD,), overwrite_chunks=True)
    history.update(THIRD + SOON)
    primary, replica = copies(history)
    assert primary == replica


def test_a_store_is_created_without_a_replica_that_is_down(replicated: Site, line: Line) -> None:
    for folder in ("primary", "copy"):
        shutil.rmtree(replicated.folder / folder)
    line.puts_left = 0
    replicated.backfill(SECOND + SOON)
    assert replicated.read().sizes["init_time"] == 2
    line.puts_left = 10**9
    replicated.update(SECOND + SOON)
    primary, replica = copies(replicated)
    assert primary == replica


KINDS = pytest.mark.parametrize("kind", ["required", "best_effort"])


@KINDS
def test_a_primary_that_was_lost_is_not_made_anew_over_its_replica(replicated: Site, kind: str) -> None:
    """The replica is the only copy, and files that it was made from are gone."""
    replicated.update(SECOND + SOON)
    replicated.remove(*range(1, 9))
    shutil.rmtree(replicated.folder / "primary")
    before = objects_of(replicated.folder / "copy")
    site = replace(replicated.having(replicas=kind), before_put=no_put)
    asked: list[Callable[[], object]] = [
        lambda: site.update(SECOND + SOON),
        lambda: site.backfill(SECOND + SOON),
        lambda: plan_partition(
            site.dataset, site.workspace, PartitionRequest(label=INIT, publish=False), SECOND + SOON
        ),
        lambda: site.dataset.initialise(site.workspace, None, SECOND + SOON),
    ]
    for ask in asked:
        with pytest.raises(StoreMissing) as refused:
            ask()
        message = str(refused.value)
        assert f"test-gfs-forecast was to be created at {site.folder}/primary/{STORE}; no store stands there" in message
        assert f"its replica {site.folder}/copy/{STORE} has 4 objects of data that would be written over" in message
        assert (
            "copy the replica back while nothing writes to it, the root zarr.json last; or wipe the replica" in message
        )
    assert objects_of(site.folder / "copy") == before
    shutil.copytree(site.folder / "copy", site.folder / "primary")
    replicated.having(replicas=kind).update(SECOND + SOON)
    assert open_as_reader(str(site.folder / "copy" / STORE))[TEMPERATURE].notnull().all()


@KINDS
def test_a_first_publication_that_ended_between_two_roots_may_be_repeated(replicated: Site, kind: str) -> None:
    def die(url: str, key: str) -> None:
        if "/primary/" in url and key == "zarr.json":
            raise Stopped(key)

    for make in (Site.update, Site.backfill):
        for folder in ("primary", "copy"):
            shutil.rmtree(replicated.folder / folder)
        site = replicated.having(replicas=kind)
        with pytest.raises(Stopped):
            make(replace(site, before_put=die))
        assert (site.folder / "copy" / STORE / "zarr.json").exists()
        make(site)
        primary, replica = copies(site)
        assert primary == replica
        assert site.read()[TEMPERATURE].notnull().all()


def test_a_replica_that_starts_elsewhere_is_refused(replicated: Site) -> None:
    """A primary of a later REFORMATTERS_START is new, or stands; the replica's shards are others'."""
    replicated.update(SECOND + SOON)
    before = objects_of(replicated.folder / "copy")
    later = replicated.dataset.template_config.started_at(SECOND)
    site = replace(replicated.having(template_config=later), folder=replicated.folder / "later")
    site.arrive(SECOND)
    told = (
        rf"replica {replicated.folder}/copy/{STORE} was to be written to; another archive stands there, .*: the archive was "
        r"to start at 2026-07-30T00:00; the store starts at 2026-07-29T18:00: .*; or wipe that replica, or take it out"
    )
    required = replace(site.having(replicas="required"), before_put=no_put)
    with pytest.raises(TemplateDrift, match=told):
        required.update(SECOND + SOON)
    replace(site, settings={}).update(SECOND + SOON)
    with pytest.raises(TemplateDrift, match=told):
        required.update(SECOND + SOON)
    mend_replicas(site.stores, "run", DEFAULT_TERMS)
    assert objects_of(replicated.folder / "copy") == before


def test_a_required_replica_of_another_structure_is_refused_by_its_name(wider: Site, replicated: Site) -> None:
    wider.update(SECOND + SOON)
    shutil.rmtree(wider.folder / "primary")
    required = replace(replicated.having(replicas="required"), before_put=no_put)
    told = (
        rf"replica {wider.folder}/copy/{STORE} was to be written to; another archive stands .* {WIND} is in the store"
    )
    with pytest.raises(TemplateDrift, match=told):
        required.update()


@pytest.mark.parametrize("other", ["start", "variables", "root"])
def test_an_update_goes_on_without_a_replica_of_another_archive(wider: Site, other: str) -> None:
    """Nothing is written to it, of its own or beside that, and what it lacks is marked until somebody wipes it."""
    wider.update(SECOND + SOON)
    changes: dict[str, Any] = {"template_config": wider.dataset.template_config.started_at(SECOND)}
    if other == "variables":
        changes = {"template_config": gfs_forecast(wider.folder / "fewer", variables=[TEMPERATURE]).template_config}
    site = replace(wider.having(**changes if other != "root" else {}), folder=wider.folder / "new")
    if other == "root":
        shutil.copytree(wider.folder / "primary", site.folder / "primary")
        (wider.folder / "copy" / STORE / "zarr.json").write_bytes(b"{}")
    before = objects_of(wider.folder / "copy")
    site.arrive(INIT, SECOND)

    site.backfill(SECOND + SOON, **({"overwrite_chunks": True} if other == "root" else {}))
    if other != "root":  # an update fills that one anew
        site.update(SECOND + SOON)

    assert objects_of(wider.folder / "copy") == before
    assert site.read()[TEMPERATURE].sel(init_time=SECOND).notnull().all()
    lacking = degraded(site.stores)
    assert "2026-07-30T00:00" in [one.partition for one in lacking]
    told = "it is none" if other == "root" else "another archive stands there, and readers would see both mixed"
    assert {told in one.reason for one in lacking} == {True}
    assert f"{wider.folder}/copy/{STORE}" in lacking[0].reason
    assert not check_replicas(site.stores, SECOND).passed
    shutil.rmtree(wider.folder / "copy")
    site.update(SECOND + SOON)
    assert degraded(site.stores) == []
    assert objects_of(site.folder / "primary" / STORE) == objects_of(wider.folder / "copy" / STORE)


@pytest.mark.parametrize("labels", [b"", b"damaged"])
def test_a_replica_without_readable_labels_is_filled_anew(replicated: Site, labels: bytes) -> None:
    (replicated.folder / "copy" / STORE / "init_time/c/0").write_bytes(labels)
    told = rf"copy/{STORE}/init_time/c/0 was to be read as the first labels of a store; it is none"
    with pytest.raises(CorruptRoot, match=told):
        replace(replicated.having(replicas="required"), before_put=no_put).update(SECOND + SOON)
    replicated.update(SECOND + SOON)
    primary, replica = copies(replicated)
    assert primary == replica


def no_put(url: str, key: str) -> None:
    raise AssertionError(f"{url}/{key} was put")


def test_a_required_replica_without_a_store_is_refused_at_once(history: Site) -> None:
    required = replace(history.having(replicas="required"), before_put=no_put)
    asked: list[Callable[[], object]] = [
        lambda: required.update(THIRD + SOON),
        lambda: required.backfill(SECOND + SOON, overwrite_chunks=True),
        lambda: plan_backfill(
            required.dataset, required.workspace, BackfillRequest(overwrite_chunks=True), SECOND + SOON
        ),
        lambda: required.dataset.initialise(required.workspace, THIRD + SOON, THIRD + SOON),
    ]
    for ask in asked:
        with pytest.raises(StoreMissing) as refused:
            ask()
        message = str(refused.value)
        assert f"test-gfs-forecast was to be written to its replica {history.folder}/copy/{STORE} too" in message
        assert f"no store stands there, while {history.folder}/primary/{STORE} has 9 arrays and 2 labels" in message
        assert "replicas='best_effort'" in message
        assert "the root zarr.json last" in message
        assert "docs/operations.md" in message


def test_a_required_replica_that_lags_is_refused(replicated: Site) -> None:
    replace(replicated, settings={}).update(SECOND + SOON)
    required = replace(replicated.having(replicas="required"), before_put=no_put)
    told = r"the store there has 9 arrays and 1 labels of init_time, while .* has 9 arrays and 2 labels"
    with pytest.raises(StoreTooShort, match=told):
        required.update(SECOND + SOON)
    root = replicated.folder / "copy" / STORE / "zarr.json"
    root.write_text('{"consolidated_metadata": {"metadata": {}}}')
    with pytest.raises(StoreTooShort, match="the store there has 0 arrays and 0 labels of init_time"):
        required.update(SECOND + SOON)


@pytest.fixture
def wider(replicated: Site) -> Site:
    """The same with a variable more in the template."""
    template = gfs_forecast(replicated.folder / "wider", variables=[TEMPERATURE, WIND]).template_config
    return replicated.having(template_config=template)


ADDING = {"overwrite_chunks": True, "overwrite_metadata": True, "variables": (WIND,)}


def test_a_replica_that_lacks_a_variable_gets_its_history(wider: Site) -> None:
    replace(wider, settings={}).backfill(INIT + SOON, **ADDING)
    with pytest.raises(StoreTooShort, match="the store there has 9 arrays and 1 labels"):
        wider.having(replicas="required").update(SECOND + SOON)
    wider.arrive(THIRD)
    wider.update(SECOND + SOON)
    primary, replica = copies(wider)
    assert primary == replica


def test_a_commit_that_ended_between_two_roots_may_be_repeated(wider: Site) -> None:
    """The replica has a variable by then that the primary lacks."""

    def die(url: str, key: str) -> None:
        if "/primary/" in url and key == "zarr.json":
            raise Stopped(key)

    required = wider.having(replicas="required")
    with pytest.raises(Stopped):
        replace(required, before_put=die).backfill(INIT + SOON, **ADDING)
    required.backfill(INIT + SOON, **ADDING)
    primary, replica = copies(wider)
    assert primary == replica


@DAMAGED_ROOTS
def test_a_required_replica_with_a_damaged_root_is_refused(replicated: Site, root: bytes) -> None:
    (replicated.folder / "copy" / STORE / "zarr.json").write_bytes(root)
    required = replace(replicated.having(replicas="required"), before_put=no_put)
    with pytest.raises(TemplateDrift, match=r"copy/.*zarr.json was to be read as the root of a store; it is none"):
        required.update(SECOND + SOON)


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


def test_without_replicas_there_is_nothing_to_compare(site: Site) -> None:
    assert check_replicas(site.stores, INIT).message == "there are no replicas"
