"""How far a run is, as people see it: counts of the core, a clock of the test, and a screen."""

from io import StringIO

import pytest
from rich.console import Console

from reformatters_dagster.cli.progress import PLAIN_EVERY, Overall, showing_progress
from tests.datasets import INIT, SECOND, SOON, Site

pytest_plugins = ["tests.datasets"]
VARIABLE = ("download a,b", "read a", "compress a", "upload a")


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_share_runs_over_partitions_variables_and_stages() -> None:
    overall, shares = Overall(Clock()), []
    overall.count("partitions", 1, 4)
    overall.count("variables", 0, 2)
    for stage in VARIABLE:
        overall.count(stage, 1, 1)
        shares.append(overall.share)
    assert shares == pytest.approx([0.25 + 0.25 * done for done in (2 / 8, 3 / 8, 4 / 8, 5 / 8)])
    overall.count("read a", 1, 9)
    assert overall.share == shares[-1]
    overall.count("keep b", 1, 1)
    assert overall.share == 0.5
    overall.count("partitions", 2, 4)
    assert overall.share == 0.5


def test_the_time_left_goes_by_what_this_run_has_done() -> None:
    clock = Clock()
    overall = Overall(clock)
    overall.count("partitions", 0, 4)
    overall.count("partitions", 2, 4)  # two were committed before
    overall.count("variables", 0, 2)
    assert overall.line() == "partition 3 of 4, variable 1 of 2, 50 %"
    clock.now += 90
    overall.count("download a,b", 0, 2)
    overall.count("upload a", 1, 1)
    assert overall.line() == "partition 3 of 4, variable 2 of 2, 62 %, about 4 min 30 s left: download a and 1 more"
    overall.count("compress b", 0, 1)
    assert overall.line().endswith(": compress b")


def test_a_terminal_has_one_line_that_is_renewed() -> None:
    screen = StringIO()
    with showing_progress(Console(file=screen, force_terminal=True, width=100)) as on_progress:
        on_progress("partitions", 0, 2)
        on_progress("variables", 0, 2)
        on_progress("compress temperature_2m", 0, 1)
    shown = screen.getvalue()
    assert "partition 1 of 2, variable 1 of 2, 12 %: compress temperature_2m" in shown
    assert shown.endswith("\x1b[2K")


def test_without_a_terminal_lines_come_at_a_modest_rate() -> None:
    screen, clock = StringIO(), Clock()
    with showing_progress(Console(file=screen, width=20), clock) as on_progress:
        on_progress("partitions", 0, 1)
        on_progress("variables", 0, 1)
        for _ in range(130):
            clock.now += PLAIN_EVERY / 64  # exact in binary
            on_progress("read temperature_2m", 1, 2)
    lines = screen.getvalue().splitlines()
    assert lines == [
        "progress: partition 1 of 1, variable 1 of 1, 38 %, about 50 s left: read temperature_2m",
        "progress: partition 1 of 1, variable 1 of 1, 38 %, about 1 min 40 s left: read temperature_2m",
    ]


def test_a_run_counts_to_its_end(site: Site) -> None:
    told: list[tuple[str, int, int]] = []
    overall = Overall(Clock())

    def count(stage: str, done: int, total: int) -> None:
        before = overall.share
        overall.count(stage, done, total)
        assert overall.share >= before
        told.append((stage, done, total))

    site.arrive(INIT, SECOND)
    now = SECOND + SOON
    site.dataset.reformat_operational_update(site.workspace, run_id="update", now=now, on_progress=count)
    assert [one for one in told if one[0] == "partitions"] == [("partitions", 0, 2), ("partitions", 1, 2)]
    assert [one for one in told if one[0] == "variables"] == [("variables", 0, 4)] * 2
    assert {stage.partition(" ")[0] for stage, _, _ in told} >= {"download", "read", "compress", "upload"}
    assert overall.share == 1
