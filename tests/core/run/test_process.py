"""Where a run writes what it makes, and plans that it carries out no more."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reformatters_dagster.core.run.partition import run_partition
from reformatters_dagster.core.run.plan import PartitionRequest, plan_partition
from reformatters_dagster.core.spec.errors import (
    PlanOutdated,
    TmpDiskFull,
)
from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.core.store.reading import open_published
from tests.core.run.sites import chunks
from tests.datasets import (
    INIT,
    RAIN,
    SECOND,
    SOON,
    TEMPERATURE,
    Site,
    assert_forecast_true,
    objects_of,
)
from tests.stores import S3Bucket

pytest_plugins = ["tests.datasets", "tests.stores"]

HOUR = Timedelta("1h")


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


def test_replicas_are_the_same_bytes(pair: Site, tmp_path: Path) -> None:
    pair = replace(pair, settings={"replicas": (str(tmp_path / "one"), f"file://{tmp_path / 'two'}")})
    pair.arrive(INIT, SECOND)
    pair.remove(4)
    pair.update(SECOND + SOON)
    store = "test-gfs-forecast/v0.1.0.zarr"
    primary = objects_of(tmp_path / "primary" / store)
    assert_forecast_true(pair.read(), SECOND)
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


def test_hours_that_were_never_there_stay_nan(pair: Site) -> None:
    """Chunks that hold nothing are written all the same, so that a missing object means "never written"."""
    pair.arrive(INIT, leads=[0])
    pair.update()
    ds = pair.read()
    assert np.isnan(ds[TEMPERATURE].isel(lead_time=slice(1, None))).all()
    assert len([key for key in chunks(pair) if f"/{TEMPERATURE}/c/" in key]) == 2
    assert not [key for key in chunks(pair) if f"/{RAIN}/c/" in key]


@pytest.mark.parametrize(
    ("kilobytes", "message"),
    [
        (40, r"region 2026-07-29 18:00:00 of test-gfs-forecast needs 54,720 bytes in .*; \d\d,\d{3} are free: point"),
        (64, r"was being written; the disk is full: free space or point REFORMATTERS_TMP at a larger disk"),
        (80, r"was being written; the disk is full"),
    ],
)
def test_a_full_tmp_disk_is_said_and_left_empty(
    pair: Site, small_disk: Callable[[int], Path], kilobytes: int, message: str
) -> None:
    disk = small_disk(kilobytes)
    pair.arrive(INIT)
    full = replace(pair, settings={"tmp": str(disk)})
    with pytest.raises(TmpDiskFull, match=message):
        full.job().process()
    assert list(disk.iterdir()) == []


def test_a_full_tmp_disk_stops_a_backfill(pair: Site, small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(24)
    pair.arrive(INIT)
    with pytest.raises(TmpDiskFull, match=r"needs 54,720 bytes in .*; \d\d,\d{3} are free: point"):
        replace(pair, settings={"tmp": str(disk)}).backfill()
    assert pair.objects() == {}
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize("publish", [False, True])
def test_a_plan_made_before_more_was_published_is_refused(hourly: Site, *, publish: bool) -> None:
    """A backfill that waited while an update went by would blank the labels it does not know."""
    dataset, workspace = hourly.dataset, hourly.workspace
    hourly.update(INIT + 2 * HOUR)
    plan = plan_partition(dataset, workspace, PartitionRequest(label=INIT, publish=publish), INIT + 2 * HOUR)
    hourly.update(INIT + 3 * HOUR)
    before = hourly.objects()
    wanted = (
        "to be written up to before 2026-07-29T2[01]:00; 2026-07-29T21:00 has been published since: nothing was written"
    )
    with pytest.raises(PlanOutdated, match=wanted):
        run_partition(dataset, workspace, plan, run_id="late")
    assert hourly.objects() == before


def test_a_plan_of_a_whole_shard_stays_good(hourly: Site) -> None:
    dataset, workspace = hourly.dataset, hourly.workspace
    hourly.update(INIT + 6 * HOUR)
    plan = plan_partition(dataset, workspace, PartitionRequest(label=INIT, publish=False), INIT + 6 * HOUR)
    hourly.update(INIT + 7 * HOUR)
    assert run_partition(dataset, workspace, plan, run_id="late").entry.is_complete
