"""What every command has in common: options, help, errors and exit statuses."""

import importlib.metadata
import logging
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from reformatters_dagster.cli import app
from tests.cli.deployment import COMMANDS, ID, ONE_PARTITION, Deployment, assert_fails


def test_settings_that_cannot_be_read_are_refused(published: Deployment) -> None:
    result = published.reformat("status", ID, REFORMATTERS_START="soon")
    assert_fails(result, 2, "Refused", "REFORMATTERS_START='soon'", "dataset-id=time")


@pytest.mark.parametrize(
    "command", ["describe", "update-template", "backfill", "update", "begin-anew", "validate", "status", "store-urls"]
)
def test_an_unknown_dataset_is_refused_with_the_known_ones(empty: Deployment, command: str) -> None:
    for asked, meant in (("noaa-gfs-forcast", ID), ("noaa-gfs-dmo", "noaa-gfs-demo")):
        assert_fails(empty.reformat(command, asked), 2, "UnknownDataset", repr(asked), ID, f"did you mean {meant!r}?")


@pytest.mark.parametrize("command", ["list", "status", "store-urls", "validate"])
def test_every_command_takes_the_common_options(published: Deployment, command: str) -> None:
    places = ("--store", str(published.folder / "stores"), "--upstream", str(published.folder / "upstream"))
    given = [] if command == "list" else [ID]
    result = published.reformat(command, *given, *places, "--replica", str(published.folder / "copy"), "--json")
    assert result.exit_code in {0, 1}, result.stderr  # a check may fail, the options may not
    assert str(published.store) in result.stdout


def test_a_start_of_a_dataset_that_there_is_not_is_refused(empty: Deployment) -> None:
    result = empty.reformat("backfill", ID, "--dry-run", REFORMATTERS_START="noaa-gfs-forcast=2026-07-29T18")
    assert_fails(result, 2, "Refused", "REFORMATTERS_START names noaa-gfs-forcast; there are", ID)


def test_a_tmp_folder_that_cannot_be_made_fails_without_a_traceback(empty: Deployment) -> None:
    blocked = empty.folder / "a-file"
    blocked.touch()
    result = empty.reformat("backfill", ID, *ONE_PARTITION, REFORMATTERS_TMP=str(blocked / "tmp"))
    assert_fails(result, 1, "NotADirectoryError", str(blocked))
    assert not (empty.folder / "stores").exists()


@pytest.mark.parametrize("option", ["--store", "--replica", "--upstream"])
def test_an_empty_place_is_refused(published: Deployment, option: str) -> None:
    """As an unset variable of the shell gives it: the default is not what was meant."""
    assert_fails(published.reformat("status", ID, option, ""), 2, "Refused", f"{option} '' names no place")


def test_bad_usage_is_refused(empty: Deployment) -> None:
    result = empty.reformat("backfill", ID, "--no-such-option")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--no-such-option" in result.stderr


def test_the_version_is_that_of_the_package(empty: Deployment) -> None:
    result = empty.reformat("--version")
    assert (result.exit_code, result.stdout) == (0, f"reformat {importlib.metadata.version('reformatters-dagster')}\n")


@pytest.mark.parametrize("command", [(), *((command,) for command in COMMANDS)])
def test_every_command_helps_in_short(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*command, "-h"])
    assert result.exit_code == 0
    assert "Usage: " in result.stdout
    if not command:
        assert "Show INFO log lines also where stderr is a terminal." in " ".join(
            result.stdout.replace("│", " ").split()
        )


def test_debug_prints_a_traceback(empty: Deployment) -> None:
    result = empty.reformat("--debug", "status", "noaa-gfs")
    assert result.exit_code == 2
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("UnknownDataset: ")


def test_a_command_leaves_logging_and_signals_as_they_were(empty: Deployment) -> None:
    before = (list(logging.getLogger().handlers), logging.getLogger().level, signal.getsignal(signal.SIGTERM))
    empty.reformat("list")
    assert before == (list(logging.getLogger().handlers), logging.getLogger().level, signal.getsignal(signal.SIGTERM))


def test_help_answers_without_the_heavy_libraries() -> None:
    code = """
import sys
from reformatters_dagster.cli import app
for arguments in (["--help"], ["backfill", "--help"]):
    try:
        app(arguments)
    except SystemExit as end:
        print(end.code, sorted({"dagster", "numba", "pandas", "xarray", "zarr"} & set(sys.modules)))
"""
    helped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert helped.count("\n0 []\n") == 2
    assert [command for command in (*COMMANDS, "--force") if command not in helped] == []
