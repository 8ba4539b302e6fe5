"""Whatever put an operational update is stopped after, each store opens, and shows the old extent or the new one, whole.

The update finds a file that was missing of the init time already published, and one more init time.
"""

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.store.location import Etag, Expected, Store
from reformatters_dagster.core.store.stores import StoreSet
from tests.datasets import (
    INIT,
    RAIN,
    SECOND,
    SOON,
    TEMPERATURE,
    Sample,
    Site,
    assert_forecast_true,
    gfs_forecast,
    objects_of,
    open_as_reader,
    shard_objects,
)
from tests.faults.rows import after_each
from tests.stores import FaultStore, Journal, Stopped

pytest_plugins = ["tests.datasets"]

STORE = "test-gfs-forecast/v0.1.0.zarr"
PLACES = ("replica", "primary")
VARIABLES = (TEMPERATURE, RAIN)
LATE = 3

OBJECTS = len(VARIABLES) * 2
"""Of one init time."""
GROWN = ("expected_forecast_length", "init_time", "valid_time")
HEALED, APPENDED = OBJECTS + 1, OBJECTS + 1 + len(GROWN) + len(GROWN) + 1 + len(VARIABLES) + 1
"""Puts into a store: objects and the ingested length; then coordinates and documents that grew, and the root."""
PUTS = dict.fromkeys(PLACES, HEALED + APPENDED)
IN_ALL = sum(PUTS.values()) + 2 * 3
"""And of each init time a lease that is taken twice, and a ledger entry."""


@dataclass(frozen=True)
class Put:
    place: str
    key: str
    data: bytes


@dataclass
class Recording:
    """Puts into the stores that readers open, one at a time."""

    puts: list[Put] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, store: Store) -> Store:
        return RecordedStore(store, self)


class RecordedStore(FaultStore):
    def __init__(self, inner: Store, recording: Recording) -> None:
        super().__init__(inner, lambda url, key: None)
        self.recording = recording

    def put(self, key: str, data: bytes | Path, *, only_if: Expected | None = None) -> Etag:
        return self._recorded(key, data, lambda: super(RecordedStore, self).put(key, data, only_if=only_if))

    def put_over(self, key: str, data: bytes | Path, found: Etag | None) -> Etag:
        return self._recorded(key, data, lambda: super(RecordedStore, self).put_over(key, data, found))

    def _recorded(self, key: str, data: bytes | Path, put: Callable[[], Etag]) -> Etag:
        with self.recording.lock:
            etag = put()
            content = data.read_bytes() if isinstance(data, Path) else data
            self.recording.puts.append(Put(Path(self.url).parts[-3], key, content))
        return etag


@dataclass(frozen=True)
class Growth:
    """Two stores before and after an update, and every put between."""

    before: Path
    after: Path
    puts: list[Put]

    def views(self, folder: Path) -> tuple[xr.Dataset, ...]:
        return tuple(open_as_reader(str(folder / place / STORE)) for place in PLACES)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DynamicalDataset:
    return gfs_forecast(tmp_path_factory.mktemp("templates"), variables=VARIABLES)


@pytest.fixture(scope="module")
def growth(tmp_path_factory: pytest.TempPathFactory, gfs_sample: Sample, dataset: DynamicalDataset) -> Growth:
    before = tmp_path_factory.mktemp("before")
    site = Site(before, dataset, gfs_sample, settings=places(before))
    site.arrive(INIT)
    site.remove(LATE)
    site.update()
    site.arrive(INIT, SECOND)
    after = tmp_path_factory.mktemp("after")
    shutil.copytree(before, after, dirs_exist_ok=True)
    grown = replace(site, folder=after, settings=places(after))
    recording, stores = Recording(), grown.stores
    recorded = StoreSet(recording.of(stores.primary), tuple(map(recording.of, stores.replicas)), stores.internal)
    grown.dataset.reformat_operational_update(
        replace(grown.workspace, stores=recorded), run_id="update", now=SECOND + SOON
    )
    return Growth(before, after, recording.puts)


def places(folder: Path) -> dict[str, object]:
    return {"replicas": (str(folder / "replica"),)}


def assert_consistent(store: Path, old: xr.Dataset, new: xr.Dataset) -> int:
    """What a reader sees is the old extent or the new, each object the old one or the new; return labels seen."""
    seen = open_as_reader(str(store))
    labels = seen.sizes["init_time"]
    assert list(seen.indexes["init_time"]) in ([INIT], [INIT, SECOND])
    assert set(seen.coords) == set(new.coords)
    for name in set(seen.coords) - {"ingested_forecast_length"}:
        xr.testing.assert_identical(seen[name].variable, new.isel(init_time=slice(labels))[name].variable)
    lengths = seen["ingested_forecast_length"]
    assert lengths[0] in (old["ingested_forecast_length"][0], new["ingested_forecast_length"][0])
    for name in VARIABLES:
        for tile in (slice(0, 18), slice(18, 36)):
            there, was, will = (ds[name].isel(init_time=0, longitude=tile).to_numpy() for ds in (seen, old, new))
            assert np.array_equal(there, was, equal_nan=True) or np.array_equal(there, will, equal_nan=True)
    if labels == 2:
        assert lengths[1] == new["ingested_forecast_length"][1]
        xr.testing.assert_identical(seen[list(VARIABLES)].isel(init_time=1), new[list(VARIABLES)].isel(init_time=1))
        missing = [key for name in VARIABLES for key in shard_objects(seen, name, 1) if not (store / key).is_file()]
        assert missing == []
    return labels


def test_every_prefix_of_the_puts_opens_and_is_consistent(growth: Growth, tmp_path: Path) -> None:
    assert len(growth.puts) == sum(PUTS.values()) == 40
    shutil.copytree(growth.before, tmp_path, dirs_exist_ok=True)
    seen = {place: [1] for place in PLACES}
    old, new = (dict(zip(PLACES, growth.views(folder), strict=True)) for folder in (growth.before, growth.after))
    for put in growth.puts:
        path = tmp_path / put.place / STORE / put.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(put.data)
        seen[put.place].append(assert_consistent(tmp_path / put.place / STORE, old[put.place], new[put.place]))
    for place in PLACES:
        assert objects_of(tmp_path / place / STORE) == objects_of(growth.after / place / STORE)
        assert seen[place] == [1] * PUTS[place] + [2]


def test_replicas_get_each_object_before_the_primary(growth: Growth) -> None:
    order = [(put.place, put.key) for put in growth.puts]
    last = len(order) - 1
    for key in {put.key for put in growth.puts}:
        copied, there = order[::-1].index(("replica", key)), order[::-1].index(("primary", key))
        assert last - copied < last - there


def test_chunks_then_coordinates_then_documents_then_the_root(growth: Growth) -> None:
    def rank(key: str) -> int:
        name, _, rest = key.partition("/")
        if rest.startswith("c/"):
            return 0 if name in VARIABLES else 1
        return 2 if rest else 3

    for place in PLACES:
        appended = [put.key for put in growth.puts if put.place == place][-APPENDED:]
        assert [rank(key) for key in appended] == sorted(rank(key) for key in appended)
        assert [key for key in appended if rank(key) == 3] == ["zarr.json"]


def stop_and_go_on(growth: Growth, folder: Path, dataset: DynamicalDataset, sample: Sample, puts: int) -> None:
    shutil.copytree(growth.before, folder, dirs_exist_ok=True)
    site = Site(folder, dataset, sample, settings=places(folder))
    journal = Journal(stop_after=puts)
    with pytest.raises(Stopped):
        replace(site, before_put=journal).update(SECOND + SOON)
    assert len(journal.puts) == puts
    assert list(site.tmp.iterdir()) == []
    for place, old, new in zip(PLACES, growth.views(growth.before), growth.views(growth.after), strict=True):
        assert_consistent(folder / place / STORE, old, new)
    site.update(SECOND + SOON)
    for init_time in (INIT, SECOND):
        assert_forecast_true(site.read(), init_time)
    for place in PLACES:
        assert objects_of(folder / place / STORE) == objects_of(growth.after / place / STORE)


def test_an_update_that_was_stopped_is_finished_by_the_next(
    growth: Growth, tmp_path: Path, dataset: DynamicalDataset, gfs_sample: Sample
) -> None:
    stop_and_go_on(growth, tmp_path, dataset, gfs_sample, IN_ALL - 5)


@pytest.mark.slow
@pytest.mark.parametrize("puts", after_each(IN_ALL, stride=3))
def test_an_update_stopped_after_any_put_is_finished_by_the_next(
    growth: Growth, tmp_path: Path, dataset: DynamicalDataset, gfs_sample: Sample, puts: int
) -> None:
    stop_and_go_on(growth, tmp_path, dataset, gfs_sample, puts)
