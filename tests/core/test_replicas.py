"""A replica that is down: it stops an update, or is marked, shown and mended, as the dataset wants it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reformatters_dagster.core.errors import StoreUnavailable
from reformatters_dagster.core.replicas import check_replicas, degraded
from reformatters_dagster.core.status import status
from tests.datasets import (
    INIT,
    SECOND,
    SOON,
    TEMPERATURE,
    THIRD,
    Sample,
    Site,
    gfs_forecast,
    objects_of,
    open_as_reader,
)

pytest_plugins = ["tests.datasets"]

type MakeSite = Callable[..., Site]


class Line:
    """The way to a replica, which may be cut after some puts."""

    def __init__(self) -> None:
        self.puts_left = 10**9

    def __call__(self, url: str, key: str) -> None:
        if "/copy/" in url:
            self.puts_left -= 1
            if self.puts_left < 0:
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


def copies(site: Site) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Objects of the primary and of the replica."""
    store = Path("test-gfs-forecast/v0.1.0.zarr")
    return objects_of(site.folder / "primary" / store), objects_of(site.folder / "copy" / store)


def test_a_required_replica_that_is_down_stops_the_update(replicated: Site, line: Line) -> None:
    before = copies(replicated)
    line.puts_left = 0
    with pytest.raises(StoreUnavailable, match="could not be written"):
        replicated.having(replicas="required").update(SECOND + SOON)
    assert copies(replicated) == before
    assert degraded(replicated.stores) == []


@pytest.mark.parametrize("puts", range(0, 14, 2))
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
    assert "cannot be read" in check_replicas(replicated.stores, INIT).message


def test_without_replicas_there_is_nothing_to_compare(site: Site) -> None:
    assert check_replicas(site.stores, INIT).message == "there are no replicas"
