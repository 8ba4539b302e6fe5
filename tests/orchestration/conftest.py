"""Deployments for the tests of this folder; a module that asks for one says `pytest_plugins = ["tests.datasets"]`."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from tests.datasets import PRIMARY, Site
from tests.orchestration.deployments import Deployment
from tests.orchestration.watched import FIRST, Watched, watch


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
    return watch(tmp_path, instance, FIRST)
