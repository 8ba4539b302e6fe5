"""Deployments in which nothing, or one partition, is published."""

import shutil
from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli.deployment import ARCHIVE, ID, ONE_PARTITION, TMP_2M, Deployment, mirror


@pytest.fixture(scope="session")
def backfilled(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> tuple[Deployment, Result]:
    """One partition with one real message, and what the command said. Read it only."""
    deployment = Deployment(tmp_path_factory.mktemp("deployment"))
    mirror(deployment.folder, (shared_data / "gfs" / TMP_2M).read_bytes())
    return deployment, deployment.reformat("backfill", ID, *ONE_PARTITION, "--json")


@pytest.fixture
def published(backfilled: tuple[Deployment, Result]) -> Deployment:
    """Read it only."""
    return backfilled[0]


@pytest.fixture
def copied(published: Deployment, tmp_path: Path) -> Deployment:
    """A copy to change."""
    return Deployment(Path(shutil.copytree(published.folder, tmp_path / "copy")))


@pytest.fixture
def empty(tmp_path: Path) -> Deployment:
    """No store, and an upstream without a file."""
    (tmp_path / "upstream" / ARCHIVE).mkdir(parents=True)
    return Deployment(tmp_path)
