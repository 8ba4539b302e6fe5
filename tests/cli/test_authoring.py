"""`update-template` writes what `--check` compares."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dataset_defs
from reformatters_dagster.cli import app
from tests.cli.deployment import ID, assert_fails

ROOT = Path(__file__).parents[2]


def test_committed_templates_are_in_sync() -> None:
    result = CliRunner().invoke(app, ["update-template", "--all", "--check"])
    told = "".join(f"{dataset.dataset_id}: in sync\n" for dataset in (*dataset_defs.DATASETS, *dataset_defs.of_demo()))
    assert (result.exit_code, result.stdout) == (0, told)


def test_update_template_writes_what_check_compares(tmp_path: Path) -> None:
    """In a checkout of its own, which has no template yet."""
    for name in ("reformatters_dagster", "dataset_defs"):
        (tmp_path / name).symlink_to(ROOT / name)
    command = [sys.executable, "-c", "from reformatters_dagster.cli import app; app()", "update-template"]

    def update(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    missing = update(ID, "--check")
    assert missing.returncode == 1
    assert f"run `reformat update-template {ID}`" in missing.stdout
    templates = tmp_path / "templates"
    assert not templates.exists()
    assert update(ID).stdout == f"{ID}: wrote {templates / ID / 'latest.zarr'}\n"
    assert update(ID, "--check").returncode == 0
    (templates / ID / "latest.zarr/temperature_2m/zarr.json").write_text("{}")
    differing = update("--all", "--check")
    assert differing.returncode == 1
    assert "differs in temperature_2m/zarr.json" in differing.stdout


@pytest.mark.parametrize("arguments", [(), (ID, "--all")])
def test_update_template_takes_one_or_all(arguments: tuple[str, ...]) -> None:
    assert_fails(CliRunner().invoke(app, ["update-template", *arguments]), 2, "Refused", "ID of a dataset or --all")
