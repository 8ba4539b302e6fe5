"""Stores of a few forecasts, and tmp stores to publish to them."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from reformatters_dagster.core.spec.retries import STORE_PATIENCE
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.stores import StoreSet, open_store, open_store_set
from tests.core.store.small_stores import AT_ONCE, write_tmp, write_values

if TYPE_CHECKING:
    from tests.stores import S3Bucket


@pytest.fixture
def pauses() -> list[float]:
    """Seconds that the store of `remote` would have waited."""
    return []


@pytest.fixture
def remote(s3: "S3Bucket", pauses: list[float]) -> Store:
    return open_store(s3.url, "a/v1.zarr", patience=replace(STORE_PATIENCE, sleep=pauses.append))


@pytest.fixture(params=["folder", "memory", "s3"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the stores of a test lie: a folder, this process's memory, a bucket."""
    if request.param == "s3":
        bucket: S3Bucket = request.getfixturevalue("s3")
        return bucket.url
    return str(tmp_path) if request.param == "folder" else f"memory://{uuid4()}"


@pytest.fixture
def store(base: str) -> Store:
    return open_store(base, "a/v1.zarr", patience=AT_ONCE)


@pytest.fixture
def stores(base: str) -> StoreSet:
    """A primary and one replica, on each kind of store."""
    return open_store_set(f"{base}/one", [f"{base}/two"], "noaa-gfs-forecast", "1.0.0", patience=AT_ONCE)


@pytest.fixture
def folders(tmp_path: Path) -> StoreSet:
    return open_store_set(str(tmp_path / "one"), [str(tmp_path / "two")], "noaa-gfs-forecast", "1.0.0")


@pytest.fixture(scope="module")
def tmp_stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Tmp stores of 1 to 6 forecasts, with every shard's values: copied, never published from."""
    folder = tmp_path_factory.mktemp("tmp_stores")
    made = {inits: write_tmp(folder / f"{inits}-tmp.zarr", inits) for inits in range(1, 7)}
    for path in made.values():
        write_values(path)
    return made


@pytest.fixture
def tmp_store(tmp_stores: dict[int, Path], tmp_path: Path) -> Callable[[int], Path]:
    """A tmp store of so many forecasts, to be used up."""

    def copy(inits: int) -> Path:
        return shutil.copytree(tmp_stores[inits], tmp_path / f"{uuid4()}-tmp.zarr")

    return copy
