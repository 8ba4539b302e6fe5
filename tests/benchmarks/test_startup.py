"""What is paid at a start, here and in an image."""

from pathlib import Path

import pytest

from benchmarks import report, startup
from benchmarks.startup import Cost

LOCATION = "dataset_defs.contrib.definitions"


@pytest.fixture
def image(tmp_path: Path) -> list[str]:
    """A command that says something, writes down which module it is asked for, and takes two hours over it."""
    script = tmp_path / "run"
    script.write_text(f'#!/bin/sh\necho starting\necho "$1 $2 $4" >> {tmp_path}/asked\necho "[7200, 7201]"\n')
    script.chmod(0o755)
    return [str(script)]


def test_starts_are_measured_where_the_command_leads_and_here(image: list[str], tmp_path: Path) -> None:
    found = startup.measure_inside(image, [LOCATION], lambda _: None, repeats=1)
    assert [inside for _, inside in found.values()] == [Cost(7200, 7201)] * len(found)
    assert all(0 < here.cpu < 600 for here, _ in found.values())
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [f"python -c {LOCATION}"] * 2 + ["python -c "] * 2
    assert list(found) == [f"import `{LOCATION}`", "first call of every kernel"]
    assert LOCATION in startup.code_locations()


def test_a_command_that_fails_is_named() -> None:
    with pytest.raises(SystemExit, match=r"(?s)'false python -c .*' ended with status 1; its words are above"):
        startup.measure_inside(["false"], [LOCATION], lambda _: None, repeats=1)


def test_the_table_has_both_places_side_by_side() -> None:
    text = report.inside({"import `a.definitions`": (Cost(1.5, 1.4), Cost(1.25, 1.3))})
    assert "| import `a.definitions` | 1.50 | 1.40 | 1.25 | 1.30 |" in text
