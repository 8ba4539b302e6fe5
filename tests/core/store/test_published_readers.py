"""Shards and metadata of a published store are the same to every reader that can open Zarr v3."""

import errno
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorstore
import xarray as xr
import zarr

from reformatters_dagster.core.shard.writer import write_shards
from reformatters_dagster.core.spec.axes import AppendAxis
from reformatters_dagster.core.spec.errors import UnalignedRegion
from reformatters_dagster.core.spec.region import shard_index, shard_regions
from reformatters_dagster.core.spec.template_files import differing_files, write_metadata
from reformatters_dagster.core.spec.values import Float32Array
from reformatters_dagster.core.store.metadata import put_metadata
from reformatters_dagster.core.store.stores import StoreSet, open_store_set
from reformatters_dagster.core.store.upload import publish_chunks
from tests.core.store.small_stores import objects_at
from tests.tiny import TinyTemplate, tiny_template

CHECKOUT = Path(__file__).parents[3]
YEARLY = AppendAxis(name="init_time", start="2030-01-01", frequency="365D")
"""Ten labels of it are in one coordinate object."""
EXTENTS = (9, 11)
LONGEST = max(EXTENTS)
TOP, LAST_LONGITUDES = slice(0, 2), slice(4, 8)

type Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]


@dataclass(frozen=True)
class Published:
    labels: int
    template_ds: xr.Dataset
    values: dict[str, Float32Array]
    primary: Path
    replica: Path


def made_up() -> dict[str, Float32Array]:
    """Two variables: numbers of every size, here and there NaN; whole chunks of it in the second."""
    random = np.random.default_rng(3)
    shape = (LONGEST, 3, 4, 8)
    temperature = random.normal(0, 30, shape).astype(np.float32)
    temperature[random.random(shape) < 0.2] = np.nan
    extremes = np.array([0.0, -0.0, 1e-45, np.finfo(np.float32).max, np.inf, -np.inf, np.nan, -1.0], np.float32)
    temperature[:, 1, 2] = extremes
    wind = random.normal(0, 10, shape).astype(np.float32)
    wind[:, 2] = np.nan
    wind[4, :, TOP, LAST_LONGITUDES] = np.nan
    return {"temperature_2m": temperature, "wind_u_10m": wind}


def publish(template: TinyTemplate, stores: StoreSet, tmp_store: Path, values: dict[str, Float32Array]) -> None:
    """One operational update: the shards from the newest published label on, then the metadata."""
    root = stores.primary.get_or_none("zarr.json")
    before = 0 if root is None else EXTENTS[0]
    labels = len(next(iter(values.values())))
    write_metadata(template.get_template(YEARLY.start + YEARLY.frequency * labels), tmp_store)
    for region in shard_regions(labels, template.shard_length):
        if region.stop >= before:
            for name in values:
                write_shards(values[name][region], tmp_store, name, region)
                publish_chunks(tmp_store, stores, name, shard_index(region, template.shard_length))
    put_metadata(objects_at(tmp_store), stores, expected_root="absent" if root is None else root[1])


@pytest.fixture(scope="module", params=EXTENTS, ids=lambda labels: f"{labels} labels")
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A store of an odd number of labels, the longer one made by growing the shorter."""
    folder = tmp_path_factory.mktemp("stores")
    template = tiny_template(folder / "templates", append_dim=YEARLY)
    template.update_template()
    stores = open_store_set(str(folder / "primary"), [str(folder / "replica")], template.dataset_id, "1.2.3")
    everything = made_up()
    for labels in EXTENTS[: EXTENTS.index(request.param) + 1]:
        values = {name: array[:labels] for name, array in everything.items()}
        publish(template, stores, folder / f"{labels}-tmp.zarr", values)
        assert list((folder / f"{labels}-tmp.zarr" / "wind_u_10m" / "c").iterdir()) == []
    return Published(
        labels=labels,
        template_ds=template.get_template(YEARLY.start + YEARLY.frequency * labels),
        values=values,
        primary=folder / "primary/tiny-forecast/v1.2.3.zarr",
        replica=folder / "replica/tiny-forecast/v1.2.3.zarr",
    )


def by_zarr(path: Path) -> Arrays:
    return {name: np.asarray(array[...]) for name, array in zarr.open_group(path, mode="r").arrays()}


def by_xarray(path: Path) -> Arrays:
    return _undecoded(xr.open_zarr(path, chunks=None, decode_cf=False, consolidated=True))


def by_xarray_not_consolidated(path: Path) -> Arrays:
    return _undecoded(xr.open_zarr(path, chunks=None, decode_cf=False, consolidated=False))


def _undecoded(ds: xr.Dataset) -> Arrays:
    return {str(name): variable.to_numpy() for name, variable in ds.variables.items()}


def by_tensorstore(path: Path) -> Arrays:
    names = [document.parent.name for document in path.glob("*/zarr.json")]
    return {name: np.asarray(tensor(path, name).read().result()) for name in names}


def tensor(path: Path, name: str) -> Any:
    store = {"driver": "file", "path": f"{path}/{name}/"}
    return tensorstore.open({"driver": "zarr3", "kvstore": store}, read=True).result()


def stored_coordinates(labels: int) -> Arrays:
    """Coordinates as they lie in the store."""
    seconds = pd.Timestamp("2030-01-01").value // 10**9 + 365 * 86400 * np.arange(labels)
    leads = np.array([0, 3600, 7200])
    return {
        "init_time": seconds,
        "lead_time": leads.astype(np.float64),
        "valid_time": seconds[:, None] + leads,
        "expected_forecast_length": np.full(labels, 7200.0),
        "ingested_forecast_length": np.full(labels, np.nan),
        "latitude": np.array([1.5, 0.5, -0.5, -1.5]),
        "longitude": np.arange(-180.0, 180.0, 45.0),
        "spatial_ref": np.array(0),
    }


every_reader = pytest.mark.parametrize("read", [by_zarr, by_xarray, by_xarray_not_consolidated, by_tensorstore])


@every_reader
def test_every_reader_finds_every_value(read: Callable[[Path], Arrays], published: Published) -> None:
    found = read(published.primary)
    expected = published.values | stored_coordinates(published.labels)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    for name, values in published.values.items():
        # Bit for bit: the sign of a zero is not seen by comparing.
        assert found[name].tobytes() == values.tobytes(), name


@pytest.mark.parametrize("consolidated", [True, False])
def test_a_decoded_store_is_the_template_with_values(consolidated: bool, published: Published) -> None:
    found = xr.open_zarr(published.primary, chunks=None, decode_timedelta=True, consolidated=consolidated)
    expected = published.template_ds.copy()
    for name, values in published.values.items():
        expected[name] = expected[name].copy(data=values)
    xr.testing.assert_identical(found, expected)


def test_dimension_names_reach_another_implementation(published: Published) -> None:
    for name, variable in published.template_ds.variables.items():
        array = tensor(published.primary, str(name))
        assert array.domain.labels == variable.dims
        assert array.shape == variable.shape


def test_primary_and_replica_hold_the_same_objects(published: Published) -> None:
    assert differing_files(published.primary, published.replica) == []
    objects = {path.relative_to(published.primary).as_posix() for path in published.primary.rglob("c/**/*")}
    shards = -(-published.labels // 2)
    assert {f"wind_u_10m/c/{i}/0/0/{j}" for i in range(shards) for j in range(2)} <= objects
    assert ("init_time/c/1" in objects) == (published.labels > YEARLY.coordinate_chunk)


# Shards


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    template = tiny_template(folder, append_dim=YEARLY)
    template.update_template()
    write_metadata(template.get_template(YEARLY.start + YEARLY.frequency * 9), folder / "nine-tmp.zarr")
    return folder / "nine-tmp.zarr"


@pytest.fixture
def tmp_store(empty_store: Path, tmp_path: Path) -> Path:
    """Metadata of 9 labels, two in a shard."""
    return Path(shutil.copytree(empty_store, tmp_path / "nine-tmp.zarr"))


def shard_objects(tmp_store: Path) -> set[str]:
    variable = tmp_store / "wind_u_10m"
    return {path.relative_to(variable).as_posix() for path in variable.rglob("*") if path.is_file()} - {"zarr.json"}


def test_one_region_is_its_shard_objects_and_no_others(tmp_store: Path) -> None:
    values = made_up()["wind_u_10m"][2:4]
    assert write_shards(values, tmp_store, "wind_u_10m", slice(2, 4)) == 2
    assert shard_objects(tmp_store) == {"c/1/0/0/0", "c/1/0/0/1"}
    stored = np.asarray(zarr.open_array(tmp_store / "wind_u_10m", mode="r")[...])
    np.testing.assert_array_equal(stored[2:4], values)
    assert np.isnan(np.delete(stored, [2, 3], axis=0)).all()


def test_the_last_shard_may_be_short_of_labels(tmp_store: Path) -> None:
    values = made_up()["wind_u_10m"][8:9]
    assert write_shards(values, tmp_store, "wind_u_10m", slice(8, 10)) == 2
    assert shard_objects(tmp_store) == {"c/4/0/0/0", "c/4/0/0/1"}
    np.testing.assert_array_equal(tensor(tmp_store, "wind_u_10m")[8:9].read().result(), values)


def test_a_region_written_again_is_replaced(tmp_store: Path) -> None:
    old, new = made_up()["temperature_2m"][:2], made_up()["wind_u_10m"][:2]
    write_shards(old, tmp_store, "wind_u_10m", slice(0, 2))
    write_shards(new, tmp_store, "wind_u_10m", slice(0, 2))
    np.testing.assert_array_equal(tensor(tmp_store, "wind_u_10m")[0:2].read().result(), new)


@pytest.mark.parametrize("nan", [np.s_[...], np.s_[:, :, :, LAST_LONGITUDES]], ids=["shard", "tile"])
def test_a_shard_of_nan_is_written_like_any_other(tmp_store: Path, tmp_path: Path, nan: Any) -> None:
    values = made_up()["temperature_2m"][:2]
    values[nan] = np.nan
    assert write_shards(values, tmp_store, "wind_u_10m", slice(0, 2)) == 2
    assert shard_objects(tmp_store) == {"c/0/0/0/0", "c/0/0/0/1"}
    stores = open_store_set(str(tmp_path / "primary"), [], "tiny-forecast", "1.2.3")
    assert publish_chunks(tmp_store, stores, "wind_u_10m", 0).objects == 2


@pytest.mark.parametrize("region", [slice(1, 3), slice(0, 1), slice(0, 4), slice(3, 4), slice(8, 9)])
def test_a_region_that_is_not_one_shard_is_refused(tmp_store: Path, region: slice) -> None:
    values = made_up()["wind_u_10m"][region]
    message = rf"\[{region.start}, {region.stop}\) of 'wind_u_10m' is not one shard of 2 labels"
    with pytest.raises(UnalignedRegion, match=message):
        write_shards(values, tmp_store, "wind_u_10m", region)
    assert shard_objects(tmp_store) == set()


@pytest.mark.parametrize(
    ("shape", "region"),
    [
        ((1, 3, 4, 8), slice(0, 2)),
        ((2, 3, 4, 8), slice(8, 10)),
        ((2, 3, 8, 4), slice(0, 2)),
        ((2, 3, 4), slice(0, 2)),
        ((2, 3, 4, 8, 1), slice(0, 2)),
        ((2, 3, 4, 8), slice(10, 12)),
        ((0, 3, 4, 8), slice(-2, 0)),
    ],
)
def test_values_of_another_shape_are_refused(tmp_store: Path, shape: tuple[int, ...], region: slice) -> None:
    with pytest.raises(UnalignedRegion) as refusal:
        write_shards(np.zeros(shape, np.float32), tmp_store, "wind_u_10m", region)
    assert f"'wind_u_10m' has shape {shape} for region [{region.start}, " in str(refusal.value)
    assert "of an array of shape (9, 3, 4, 8)" in str(refusal.value)
    assert shard_objects(tmp_store) == set()


IN_A_FULL_DISK = """
import shutil, sys
from pathlib import Path
import numpy as np
from reformatters_dagster.core.spec.errors import TmpDiskFull
from reformatters_dagster.core.shard.writer import write_shards

disk = Path(sys.argv[1])
tmp_store, filler = disk / "nine-tmp.zarr", disk / "filler"
shutil.copytree(sys.argv[2], tmp_store)
values = np.ones((2, 3, 4, 8), np.float32)
try:
    with filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
except OSError:
    pass
try:
    write_shards(values, tmp_store, "wind_u_10m", slice(0, 2))
except TmpDiskFull as error:
    print(error.errno, error)
filler.unlink()
print(write_shards(values, tmp_store, "wind_u_10m", slice(0, 2)))
print(sorted(p.name for p in (tmp_store / "wind_u_10m" / "c").rglob("*") if p.is_file()))
"""
OWN_DISK = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
MOUNT = 'mount -t tmpfs -o size=1m none "$0" && exec "$@"'


def test_a_full_disk_is_named_and_can_be_freed(tmp_store: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    on_disk = [*OWN_DISK, MOUNT, str(disk)]
    try:
        subprocess.run([*on_disk, "true"], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("this machine lets no process mount a disk of its own")
    command = [*on_disk, sys.executable, "-c", IN_A_FULL_DISK, str(disk), str(tmp_store)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=CHECKOUT, timeout=120)
    full, count, objects = ran.stdout.splitlines()
    assert full.startswith(f"{errno.ENOSPC} [Errno {errno.ENOSPC}] ")
    assert "wind_u_10m" in full
    assert full.endswith("the disk is full: free space or point REFORMATTERS_TMP at a larger disk")
    assert (count, objects) == ("2", "['0', '1']")
