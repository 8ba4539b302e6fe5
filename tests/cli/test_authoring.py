"""`update-template` writes what `--check` compares."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import dataset_defs
from reformatters_dagster.cli import app
from tests.cli.deployment import ID, assert_fails


def test_committed_templates_are_in_sync() -> None:
    result = CliRunner().invoke(app, ["update-template", "--all", "--check"])
    told = "".join(f"{dataset.dataset_id}: in sync\n" for dataset in (*dataset_defs.DATASETS, *dataset_defs.of_demo()))
    assert (result.exit_code, result.stdout) == (0, told)


def test_update_template_writes_what_check_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reformatters_dagster.core.spec.template.TEMPLATES", tmp_path)
    runner = CliRunner()
    missing = runner.invoke(app, ["update-template", ID, "--check"])
    assert missing.exit_code == 1
    assert f"run `reformat update-template {ID}`" in missing.stdout
    assert list(tmp_path.iterdir()) == []
    assert runner.invoke(app, ["update-template", ID]).stdout == f"{ID}: wrote {tmp_path / ID / 'latest.zarr'}\n"
    assert runner.invoke(app, ["update-template", ID, "--check"]).exit_code == 0
    (tmp_path / ID / "latest.zarr/temperature_2m/zarr.json").write_text("{}")
    differing = runner.invoke(app, ["update-template", "--all", "--check"])
    assert differing.exit_code == 1
    assert "differs in temperature_2m/zarr.json" in differing.stdout


@pytest.mark.parametrize("arguments", [(), (ID, "--all")])
def test_update_template_takes_one_or_all(arguments: tuple[str, ...]) -> None:
    assert_fails(CliRunner().invoke(app, ["update-template", *arguments]), 2, "Refused", "ID of a dataset or --all")
