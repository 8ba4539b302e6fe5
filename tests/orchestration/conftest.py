"""Deployments for the tests of this folder; a module that asks for one says `pytest_plugins = ["tests.datasets"]`."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from reformatters_dagster.core.spec.axes import AppendAxis
from reformatters_dagster.core.spec.values import Timedelta
from tests.datasets import PRIMARY, TEMPERATURE, Sample, Site, gfs_forecast
from tests.orchestration.deployments import Deployment
from tests.orchestration.watched import FIRST, Watched


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance in memory."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def deployment(site: Site, instance: dg.DagsterInstance) -> Deployment:
    """A forecast that begins at `INIT`, with nothing upstream yet, and no store."""
    (site.upstream / PRIMARY).mkdir(parents=True)
    return Deployment(site, instance)


@pytest.fixture
def watched(tmp_path: Path, instance: dg.DagsterInstance) -> Watched:
    axis = AppendAxis(name="init_time", start=FIRST, frequency="6h")
    dataset = gfs_forecast(tmp_path / "templates", append_dim=axis, variables=[TEMPERATURE])
    site = Site(tmp_path, dataset, Sample(tmp_path / "sample", tmp_path))
    (site.upstream / PRIMARY).mkdir(parents=True)
    return Watched(Deployment(site, instance)).having(soft_deadline=Timedelta("30D"))
