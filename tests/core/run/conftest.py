"""Deployments that the tests of runs share."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from reformatters_dagster.core.run.dataset import DynamicalDataset
from tests.core.run.sites import VARIABLES, Line
from tests.datasets import (
    EARLIER,
    INIT,
    SECOND,
    SOON,
    TEMPERATURE,
    THIRD,
    WIND,
    Sample,
    Site,
    gfs_analysis,
    gfs_forecast,
)


@pytest.fixture(scope="session")
def pair_dataset(tmp_path_factory: pytest.TempPathFactory) -> DynamicalDataset:
    return gfs_forecast(tmp_path_factory.mktemp("templates"), variables=VARIABLES)


@pytest.fixture
def pair(tmp_path: Path, pair_dataset: DynamicalDataset, gfs_sample: Sample) -> Site:
    """A forecast of two variables that begins at `INIT`, with nothing upstream yet."""
    return Site(tmp_path, pair_dataset, gfs_sample)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory, pair_dataset: DynamicalDataset, gfs_sample: Sample) -> Path:
    made = Site(tmp_path_factory.mktemp("filled"), pair_dataset, gfs_sample)
    made.arrive(INIT)
    made.update()
    return made.folder


@pytest.fixture
def published(pair: Site, filled: Path) -> Site:
    """The pair with all files of `INIT` upstream, and a store that holds them."""
    shutil.copytree(filled, pair.folder, dirs_exist_ok=True)
    return pair


@pytest.fixture
def hourly(tmp_path: Path, gfs_sample: Sample) -> Site:
    """An analysis of two variables, hourly from the first hours of each forecast, with all of its files upstream."""
    made = Site(tmp_path, gfs_analysis(tmp_path / "templates", variables=VARIABLES), gfs_sample)
    made.arrive(EARLIER, leads=[6])
    made.arrive(INIT, SECOND, leads=range(7))
    return made


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def replicated(tmp_path: Path, gfs_sample: Sample, line: Line) -> Site:
    dataset = replace(gfs_forecast(tmp_path / "templates", variables=[TEMPERATURE]), replicas="best_effort")
    made = Site(tmp_path, dataset, gfs_sample, {"replicas": (str(tmp_path / "copy"),)}, line)
    made.arrive(INIT)
    made.update()
    made.arrive(SECOND)
    return made


@pytest.fixture
def history(replicated: Site) -> Site:
    """Two init times are published, a third is there; the replica is new."""
    replicated.update(SECOND + SOON)
    replicated.arrive(THIRD)
    shutil.rmtree(replicated.folder / "copy")
    return replicated


@pytest.fixture
def wider(replicated: Site) -> Site:
    """The same with a variable more in the template."""
    template = gfs_forecast(replicated.folder / "wider", variables=[TEMPERATURE, WIND]).template_config
    return replicated.having(template_config=template)
