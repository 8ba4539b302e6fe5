"""What the benchmark writes into its README."""

from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.child import Run
from benchmarks.compare import LIMIT, OURS, Comparison
from benchmarks.task import Task

TASK = Task(mirror="", folder="", lead_hours=60, workers=2, template="", reference="")


def costing(cpu: float, wall: float) -> Run:
    return Run(cpu, wall, cpu + 1, 500.0, {"decode": cpu / 4, "write": cpu * 3 / 4}, 40_000_000)


def test_a_comparison_tells_spreads_ratios_and_which_targets_are_missed() -> None:
    runs = {
        OURS: [costing(2, 1), costing(2, 2), costing(4, 1)],
        "gdal": [costing(6, 3), costing(8, 2), costing(8, 3)],
        LIMIT: [costing(1, 1), costing(1, 1), costing(1, 1)],
    }
    text = report.comparison(Comparison(TASK, runs, {"gdal": "the same bytes"}, costing(2, 1)))
    assert "2.00 [2.00 to 4.00]" in text
    lines = [line for line in text.splitlines() if "≥" in line or "≤" in line]
    assert [line.rsplit(" | ", 3)[1:] for line in lines] == [
        ["3.00 [2.00 to 4.00]", "≥ 2.5", "yes |"],
        ["2.00 [2.00 to 4.00]", "≤ 1.6", "**no** |"],
        ["3.00 [1.00 to 3.00]", "≥ 2.0", "yes |"],
    ]
    assert "| decode | 0.50 | 25 % |" in text
    assert "the same bytes" in text
    assert (
        "at most 500 MB. Its largest variable takes 249 MB; the target of 1.3 times that and 500 MB, 824 MB, is met"
        in text
    )


def test_a_section_is_replaced_between_its_marks_and_nothing_else(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- one: begin -->\nold\n<!-- one: end -->\nafter\n")
    report.write("one", "new \\1\n", readme)
    assert readme.read_text() == "before\n<!-- one: begin -->\nnew \\1\n<!-- one: end -->\nafter\n"
    with pytest.raises(SystemExit, match="holds 0 sections marked 'two'"):
        report.write("two", "text", readme)
