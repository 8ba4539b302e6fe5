"""`publish` makes a small published store."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from reformatters_dagster.core.spec.variables import DataVar
from tests.core.check.published import TEMPERATURE, Publish, Published


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    def _publish(shape: str, labels: int, data_vars: Sequence[DataVar] = (TEMPERATURE,)) -> Published:
        return Published(tmp_path / "store.zarr", shape, labels, data_vars)

    return _publish
