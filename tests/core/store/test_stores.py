"""Stores are found by their URLs, and what names none is refused."""

from pathlib import Path
from uuid import uuid4

import pytest

from reformatters_dagster.core.spec.errors import Refused, StoreAccessDenied
from reformatters_dagster.core.store.stores import open_store, open_store_set
from tests.core.store.small_stores import in_write_order


def test_folders_by_url_and_by_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "with a space"
    open_store(folder.as_uri(), "a").put("x", b"1")
    monkeypatch.chdir(tmp_path)
    relative = open_store("with a space", "a")
    assert relative.get("x")[0] == b"1"
    assert relative.url == str(folder / "a")


def test_memory_is_shared_within_the_process() -> None:
    base = f"memory://{uuid4()}"
    open_store(base, "a").put("x", b"1")
    assert open_store(base, "a").get("x")[0] == b"1"
    assert open_store(base, "b").get_or_none("x") is None


@pytest.mark.parametrize("url", ["s4://bucket", "http://host/path", "s3://", "file://relative"])
def test_what_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(Refused, match=r"was asked for; .*(s3://|correct the URL|file:///)"):
        open_store(url, "a")


def test_an_account_that_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StoreAccessDenied, match=r"az://container/a: open was denied.*AZURE_STORAGE_ACCOUNT_NAME"):
        open_store("az://container", "a")


def test_where_stores_are() -> None:
    stores = open_store_set("memory://x/", ["memory://y", "memory://z"], "noaa-gfs-forecast", "1.2.0")
    assert stores.primary.url == "memory://x/noaa-gfs-forecast/v1.2.0.zarr"
    assert stores.internal.url == "memory://x/noaa-gfs-forecast/_internal/v1.2.0"
    assert [store.url.split("/")[2] for store in in_write_order(stores)] == ["y", "z", "x"]
