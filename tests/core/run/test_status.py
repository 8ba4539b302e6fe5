"""What is told of every partition, damaged or not."""

import logging

import pytest

from reformatters_dagster.core.run.status import status
from reformatters_dagster.core.spec.partition import partition_key
from tests.datasets import INIT, SECOND, SOON, Site

pytest_plugins = ["tests.datasets"]


def test_one_damaged_entry_hides_no_other(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.arrive(INIT, SECOND)
    site.update(SECOND + SOON)
    site.stores.internal.put(f"ledger/{partition_key(INIT)}.json", b"")
    with caplog.at_level(logging.WARNING):
        first, second = status(site.dataset, site.stores).partitions
    assert first.entry is None
    assert second.entry is not None
    assert second.entry.is_complete
    assert partition_key(INIT) in caplog.text
