"""`dg`, as CONTRIBUTING.md shows it: it checks and lists every dataset, and a session of it opens without a warning."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dataset_defs import DATASETS
from dataset_defs.definitions import defs
from reformatters_dagster.orchestration.names import asset_key
from tests.orchestration.dev_session import DAGSTER_YAML, dev_session
from tests.orchestration.test_stack import ROOT


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of a shell in which the checkout's environment is active."""
    (tmp_path / "dagster.yaml").write_text(DAGSTER_YAML)
    return os.environ | {"HOME": str(tmp_path), "DAGSTER_HOME": str(tmp_path), "VIRTUAL_ENV": sys.prefix}


def dg(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("dg")), *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_development_has_every_dataset_in_one_code_location() -> None:
    graph = defs.get_repository_def().asset_graph
    assert graph.materializable_asset_keys == {asset_key(dataset) for dataset in DATASETS}


@pytest.mark.slow
def test_definitions_are_checked(environment: dict[str, str]) -> None:
    done = dg(environment, "check", "defs")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "All definitions loaded successfully."), done.stderr
    assert "Warning" not in done.stdout + done.stderr


@pytest.mark.slow
def test_every_dataset_is_listed(environment: dict[str, str]) -> None:
    done = dg(environment, "list", "defs", "--json")
    assert done.returncode == 0, done.stderr
    listed = {asset["asset_key"] for asset in json.loads(done.stdout)["assets"]}
    assert listed >= {asset_key(dataset).to_user_string() for dataset in DATASETS}


@pytest.mark.slow
def test_a_session_of_development_opens_without_a_warning(environment: dict[str, str], tmp_path: Path) -> None:
    with dev_session(tmp_path / "log", environment) as session:
        assert session.locations() == {"dataset_defs": True}
    said = (tmp_path / "log").read_text()
    assert "Launching Dagster services" in said
    assert "arning" not in said, said
