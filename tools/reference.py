"""Pages of the docs site that are written from code: commands, checks, datasets.

In: the command line, the validators, the datasets. Out: Markdown by its place in the site.
"""

import re
from collections.abc import Iterator
from functools import cache
from inspect import isabstract
from types import MappingProxyType
from typing import TYPE_CHECKING

import typer
from pydantic_core import PydanticUndefined
from typer.core import TyperCommand, TyperGroup

from dataset_defs import DATASETS
from reformatters_dagster.cli import app
from reformatters_dagster.core.check import (
    completeness,
    current_data,
    drift,
    nans,
    shards,
    structure,
    upstream,
    value_range,
)
from reformatters_dagster.core.check.standard import STANDARD_CHECKS
from reformatters_dagster.core.check.validators import Validator
from reformatters_dagster.core.run.describing import describe, describe_variables
from reformatters_dagster.core.store.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reformatters_dagster.core.run.dataset import DynamicalDataset

MODULES_OF_CHECKS = (structure, shards, current_data, nans, value_range, drift, completeness, upstream)


def dataset_ids() -> list[str]:
    """Of every dataset that has a page."""
    return sorted(dataset.dataset_id for dataset in DATASETS)


@cache
def pages() -> "Mapping[str, str]":
    """Every page that is written from code, by its place."""
    found = {"reference/commands.md": _commands(), "reference/checks.md": _checks(), "datasets/index.md": _datasets()}
    return MappingProxyType(found | {f"datasets/{one.dataset_id}.md": _dataset(one) for one in DATASETS})


def commands() -> dict[str, TyperCommand]:
    """The commands of `reformat`, in the order of its help."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return {name: one for name, one in group.commands.items() if isinstance(one, TyperCommand)}


def _commands() -> str:
    told = ["# Commands", "", "`uv run reformat COMMAND`. Times are UTC: `2026-07-29T18`, or `2026-07-29T18:00`.", ""]
    for name, command in commands().items():
        context = typer.Context(command, info_name=f"reformat {name}")
        told += [f"## `{name}`", "", _prose(command.help or ""), "", "```", command.get_usage(context), "```", ""]
        rows = [record for one in command.params if (record := one.get_help_record(context)) is not None]
        if rows:
            told += ["| option or argument | what it says |", "|---|---|"]
            told += [f"| `{_cell(option)}` | {_cell(text)} |" for option, text in rows]
            told.append("")
    return "\n".join(told)


def _prose(text: str) -> str:
    """A docstring as Markdown: its examples are code."""
    return re.sub(r"^Example: (.*)$", r"Example: `\1`", text.replace("\b\n", "").replace("\f", ""), flags=re.MULTILINE)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _checks() -> str:
    told = [
        "# Checks",
        "",
        "What must hold of a store as its readers see it. Every dataset runs the standard ones; others are its own.",
        "In Dagster they are asset checks; at the terminal `reformat validate ID` runs them.",
        "",
    ]
    for kind in _kinds_of_check():
        told += [f"## `{kind.model_fields['name'].default}`", "", f"{_standing(kind)} `{kind.__name__}`", ""]
        told += [_docstring(kind), ""]
        if rows := list(_fields(kind)):
            told += ["| field | default |", "|---|---|", *(f"| `{name}` | {default} |" for name, default in rows), ""]
    return "\n".join(told)


def _kinds_of_check() -> list[type[Validator]]:
    kinds = [found for module in MODULES_OF_CHECKS for found in vars(module).values() if isinstance(found, type)]
    return [
        kind
        for kind in dict.fromkeys(kinds)
        if issubclass(kind, Validator) and not isabstract(kind) and kind.__module__ in _names_of_modules()
    ]


def _names_of_modules() -> set[str]:
    return {module.__name__ for module in MODULES_OF_CHECKS}


def _standing(kind: type[Validator]) -> str:
    """Which datasets run a check."""
    if any(type(check) is kind for check in STANDARD_CHECKS):
        return "*Every dataset.*"
    having = [one.dataset_id for one in DATASETS if any(type(check) is kind for check in one.validators)]
    return f"*{', '.join(having) or 'No dataset here'}.*"


def _docstring(kind: type[Validator]) -> str:
    """The prose of a docstring; sections of parameters and examples are left to the code."""
    text = "\n".join(line.strip() for line in (kind.__doc__ or "").splitlines())
    return re.split(r"\n\n(?=[A-Z]\w+\n-+\n|>>> )", text)[0].strip()


def _fields(kind: type[Validator]) -> Iterator[tuple[str, str]]:
    for name, field in kind.model_fields.items():
        yield name, "must be given" if field.default is PydanticUndefined else f"`{field.default}`"


def _datasets() -> str:
    told = ["# Datasets", "", "Each page is written from the dataset's template and definition.", ""]
    told += ["| dataset | what it is |", "|---|---|"]
    for dataset in DATASETS:
        description = dataset.template_config.dataset_attributes()["description"]
        told.append(f"| [`{dataset.dataset_id}`]({dataset.dataset_id}.md) | {_cell(description)} |")
    return "\n".join([*told, ""])


def _dataset(dataset: "DynamicalDataset") -> str:
    template = dataset.template_config
    told = [
        f"# {dataset.dataset_id}",
        "",
        describe(dataset, Settings(store="s3://BUCKET").store_url(template)),
        "",
        "## Columns",
        "",
    ]
    told += [describe_variables(template), "", "## Checks", ""]
    told += [f"- `{check.name}`: {_docstring(type(check)).splitlines()[0]}" for check in dataset.validators]
    told += ["", f"What is odd about its provider: [{dataset.provider}](../providers/{dataset.provider}.md)."]
    return "\n".join([*told, ""])
