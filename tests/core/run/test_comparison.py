"""The check that replicas hold what the primary holds."""

import json
import shutil
from dataclasses import replace

import pytest

from reformatters_dagster.core.ledger.lease import hold_lease
from reformatters_dagster.core.run.comparison import check_replicas
from reformatters_dagster.core.spec.errors import (
    StoreUnavailable,
)
from tests.core.run.sites import (
    DAMAGED_ROOTS,
    STORE,
)
from tests.datasets import (
    INIT,
    SECOND,
    SOON,
    TEMPERATURE,
    Site,
)
from tests.stores import FaultStore

pytest_plugins = ["tests.datasets"]


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


def test_a_run_that_ends_while_replicas_are_compared_was_writing(replicated: Site) -> None:
    damaged(replicated, "init_time/c/0")
    internal, replica = replicated.stores.internal, replicated.stores.replicas[0]
    internal.put("lease/2026-07-30T00:00.json", b"{}")

    def end(_: str) -> None:
        internal.delete("lease/2026-07-30T00:00.json")

    stores = replace(replicated.stores, replicas=(FaultStore(replica, before_get=end),))
    assert check_replicas(stores, INIT).severity == "WARN"


def test_a_replica_that_cannot_be_read_is_an_error_whoever_writes(replicated: Site) -> None:
    shutil.rmtree(replicated.folder / "copy")
    with hold_lease(replicated.stores.internal, "2026-07-30T00:00", "run"):
        found = check_replicas(replicated.stores, INIT)
    assert (found.passed, found.severity) == (False, "ERROR")
    assert "cannot be read (no store stands there)" in found.message


def test_leases_that_cannot_be_listed_excuse_nothing(replicated: Site) -> None:
    damaged(replicated, "init_time/c/0")

    def fail(prefix: str) -> None:
        if prefix == "lease":
            raise StoreUnavailable("out of order")

    stores = replace(replicated.stores, internal=FaultStore(replicated.stores.internal, before_list=fail))
    assert check_replicas(stores, INIT).severity == "ERROR"


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


@DAMAGED_ROOTS
def test_a_damaged_root_is_told(replicated: Site, root: bytes) -> None:
    (replicated.folder / "copy" / STORE / "zarr.json").write_bytes(root)
    found = check_replicas(replicated.stores, INIT)
    assert not found.passed
    assert f"/copy/{STORE} cannot be read (" in found.message
    assert "zarr.json was to be read as the root of a store; it is none" in found.message


def test_whatever_breaks_the_comparison_is_told(replicated: Site) -> None:
    def break_down(_: str) -> None:
        raise RuntimeError("out of order")

    replicas = tuple(FaultStore(replica, before_list=break_down) for replica in replicated.stores.replicas)
    found = check_replicas(replace(replicated.stores, replicas=replicas), INIT)
    assert not found.passed
    assert "could not be compared (RuntimeError: out of order)" in found.message


def test_without_replicas_there_is_nothing_to_compare(site: Site) -> None:
    assert check_replicas(site.stores, INIT).message == "there are no replicas"
