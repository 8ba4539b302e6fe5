"""What `from reformatters_dagster import …` gives: documented, with examples that run, and loaded only when asked for."""

import re
import subprocess
import sys
from doctest import DocTestRunner

import pytest

import reformatters_dagster as facade
from tests.api_page import GROUPS, PAGE, docstring, example, page

HEAVY = ("dagster", "numba", "numpy", "pandas", "pygrib", "xarray", "zarr")


@pytest.mark.parametrize("name", facade.__all__)
def test_every_name_has_an_example_that_passes(name: str) -> None:
    told: list[str] = []
    found = example(name)
    assert found.examples, f"{name} has no example: its docstring is {docstring(name)!r}"
    assert any(name in one.source for one in found.examples), f"the example does not use {name}"
    failed, _ = DocTestRunner().run(found, out=told.append)
    assert failed == 0, "".join(told)


def test_the_page_has_exactly_these_names_and_is_up_to_date() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(facade.__all__)
    assert re.findall(r"^### `(\w+)`$", PAGE.read_text(), re.MULTILINE) == [
        n for names in GROUPS.values() for n in names
    ]
    assert PAGE.read_text() == page(), "run: uv run python -m tests.api_page"


def test_names_are_those_that_are_loaded_and_no_others() -> None:
    assert sorted(facade._MODULE_OF) == sorted(facade.__all__)
    with pytest.raises(AttributeError, match="module 'reformatters_dagster' has no attribute 'DataVariable'"):
        facade.DataVariable  # type: ignore[attr-defined]  # noqa: B018


def test_nothing_heavy_loads_before_a_name_is_asked_for() -> None:
    code = f"import sys, reformatters_dagster.core.spec.errors; print([m for m in {HEAVY} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
