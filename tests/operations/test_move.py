"""A store that is copied to another bucket in the order of `docs/operations.md`: readers, updates and ledger go on there."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from reformatters_dagster.core.store.reading import is_published, open_published
from reformatters_dagster.core.store.stores import open_store
from tests.datasets import INIT, SECOND, SOON, Site, assert_forecast_true
from tests.operations.page import PAGE
from tests.stores import S3Bucket

pytest_plugins = ["tests.datasets", "tests.stores"]

ORDER = """   aws s3 sync s3://OLD/ID s3://NEW/ID --exclude "v*.zarr/zarr.json"
   aws s3 sync s3://OLD/ID s3://NEW/ID
"""
"""What the page says; the machine of the tests has no aws, so `copied` does the same by obstore."""


def copied(old: str, new: str, dataset_id: str) -> Iterator[str]:
    """Copy a dataset's folder, the root last; yields before each put."""
    source, target = open_store(old, dataset_id), open_store(new, dataset_id)
    keys = [key for key, _ in source.list()]
    roots = [key for key in keys if key.endswith(".zarr/zarr.json") and key.count("/") == 1]
    for key in [*(key for key in keys if key not in roots), *roots]:
        yield key
        target.put(key, source.get(key)[0])


def test_readers_and_updates_go_on_at_the_new_place(site: Site, s3: S3Bucket) -> None:
    old, new = f"{s3.url}/old", f"{s3.url}/new"
    first = replace(site, settings={"store": old})
    first.arrive(INIT)
    first.update(INIT + SOON)
    moved = replace(site, settings={"store": new})
    before = first.ledger()
    for key in copied(old, new, site.dataset.dataset_id):
        assert not is_published(moved.stores.primary)  # the root comes last: no reader sees half of it
        last = key
    assert last == "v0.1.0.zarr/zarr.json"
    assert_forecast_true(open_published(moved.stores.primary), INIT)
    assert moved.ledger() == before

    moved.arrive(SECOND)
    moved.update(SECOND + SOON)
    for label in (INIT, SECOND):
        assert_forecast_true(open_published(moved.stores.primary), label)
    assert len(open_published(first.stores.primary).init_time) == 1  # nobody writes to the old place any more


def test_the_page_has_the_order_that_is_tested() -> None:
    assert ORDER in Path(PAGE).read_text()
