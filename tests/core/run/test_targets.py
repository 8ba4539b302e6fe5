"""A replica that is down, lacks history or is another archive's: it stops a run, or is left out and marked."""

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reformatters_dagster.core.ledger.lease import DEFAULT_TERMS
from reformatters_dagster.core.run.backfill import BackfillRequest, plan_backfill
from reformatters_dagster.core.run.comparison import check_replicas
from reformatters_dagster.core.run.mending import mend_replicas
from reformatters_dagster.core.run.plan import PartitionRequest, plan_partition
from reformatters_dagster.core.run.replicas import degraded
from reformatters_dagster.core.run.status import status
from reformatters_dagster.core.spec.errors import (
    StoreMissing,
    StoreTooShort,
    StoreUnavailable,
    TemplateDrift,
)
from tests.core.run.sites import DAMAGED_ROOTS, STORE, Line, assert_readable_or_absent, copies, no_put
from tests.datasets import (
    INIT,
    SECOND,
    SOON,
    TEMPERATURE,
    THIRD,
    WIND,
    Site,
    gfs_forecast,
    objects_of,
    open_as_reader,
)
from tests.stores import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

pytest_plugins = ["tests.datasets"]


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


ADDING = {"overwrite_chunks": True, "overwrite_metadata": True, "variables": (WIND,)}


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
