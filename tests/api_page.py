"""docs/api.md, written from the docstrings behind the facade: `uv run python -m tests.api_page`.

In: names of `reformatters_dagster`. Out: their docstrings, and the page.
"""

import ast
import inspect
from collections.abc import Iterator
from doctest import DocTest, DocTestParser
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

import reformatters_dagster as facade

PAGE = Path(__file__).parents[1] / "docs/api.md"
GROUPS = {
    "The dataset": ("DynamicalDataset", "Resources", "CheckCurrentData", "CheckRecentNans", "STANDARD_CHECKS"),
    "Its structure": (
        *("TemplateConfig", "DatasetAttributes", "AppendAxis", "Dimension", "lead_time", "ensemble_member"),
        *("RegularAxis", "LatLonGrid", "LambertGrid", "GLOBAL_0P25", "PROJ_WORDS", "GDAL_GRIB_WORDS"),
    ),
    "Its variables": ("DataVar", "STANDARD_VARIABLES", "GribField", "Deaccumulation", "Statistic", "StepType"),
    "Its source": (
        *("SourceArchive", "STATUS_ANSWERS", "SourceFileCoord", "ForecastFileCoord", "EnsembleFileCoord"),
        "whole_hours",
    ),
    "Its region job": (
        *("ForecastRegionJob", "IdxGribRegionJob", "MarsIndexGribRegionJob", "WholeFileGribRegionJob"),
        *("IndexedGribRegionJob", "IndexEntry", "IndexMismatch"),
        *("MessageTimes", "ANY_WINDOW", "Archive", "Downloaded", "Results", "coarsened", "refine"),
    ),
    "Kinds of value": ("Time", "Duration", "OutLoc", "Array2D"),
}
HEAD = """# What a dataset is written with

Every name here comes from `from reformatters_dagster import …`; a dataset imports the project through nothing else. The examples
begin with

```python
import pandas as pd
from reformatters_dagster import *
```

[The guide](dataset_integration_guide.md) says in which order they are needed. This page is written from the docstrings by
`uv run python -m tests.api_page`; a test runs every example.
"""


def docstring(name: str) -> str:
    """Of a class or function its own; of a constant or type the text below it."""
    found = getattr(facade, name)
    if inspect.isclass(found) or inspect.isfunction(found):
        return inspect.getdoc(found) or ""
    module = import_module(facade._MODULE_OF[name])
    statements = ast.parse(inspect.getsource(module)).body
    for statement, below in pairwise(statements):
        if name in names_of(statement) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            return inspect.cleandoc(str(below.value.value))
    return ""


def names_of(statement: ast.stmt) -> set[str]:
    """What an assignment, or a type, is called."""
    match statement:
        case ast.Assign(targets=targets):
            return {ast.unparse(target) for target in targets}
        case ast.AnnAssign(target=target) | ast.TypeAlias(name=target):
            return {ast.unparse(target)}
    return set()


def example(name: str) -> DocTest:
    globs: dict[str, Any] = {one: getattr(facade, one) for one in facade.__all__} | {"pd": pd}
    return DocTestParser().get_doctest(docstring(name), globs, name, None, None)


def page() -> str:
    return "\n".join([HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for heading, names in GROUPS.items():
        yield f"## {heading}\n"
        for name in names:
            told = docstring(name).partition("\n\n")[0].replace("\n", " ")
            yield f"### `{name}`\n\n{told}\n\n```python\n{_code(docstring(name))}\n```\n"


def _code(text: str) -> str:
    """The example as it is written, without what the docstring says before and after it."""
    lines = text[text.index(">>> ") :].splitlines()
    ends = (at for at, line in enumerate(lines) if not line.strip())
    return "\n".join(lines[: next(ends, None)])


if __name__ == "__main__":
    PAGE.write_text(page())
