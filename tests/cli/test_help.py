"""`--help`, its examples, and completion in the shell."""

import shlex

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from dataset_defs import DATASETS, of_demo
from reformatters_dagster.cli import app

GROUP = typer.main.get_command(app)
assert isinstance(GROUP, TyperGroup)
COMMANDS = dict(GROUP.commands)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_it_takes(name: str) -> None:
    command = COMMANDS[name]
    lines = (command.help or "").splitlines()
    (example,) = [line.partition(": ")[2] for line in lines if line.startswith("Example: ")]
    program, called, *arguments = shlex.split(example.partition(" > ")[0])
    assert (program, called) == ("reformat", name)
    command.make_context(name, arguments)


@pytest.mark.parametrize(("words", "begun"), [("reformat describe noaa-g", "noaa-g"), ("reformat status ", "")])
def test_the_shell_completes_ids(words: str, begun: str) -> None:
    asked = {"_REFORMAT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "2"}
    found = CliRunner().invoke(app, env=asked, prog_name="reformat").stdout.split()
    ids = sorted(dataset.dataset_id for dataset in (*DATASETS, *of_demo()))
    assert found == [dataset_id for dataset_id in ids if dataset_id.startswith(begun)]
