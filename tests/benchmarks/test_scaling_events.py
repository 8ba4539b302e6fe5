"""What Dagster keeps of runs, measured on real ones."""

from pathlib import Path

import pytest

from benchmarks.scaling_events import FEW, RUNS, EventLog, PerRun, measured_in, sqlite, write_inputs


def test_a_run_of_other_variables_lies_on_the_line_through_two() -> None:
    log = EventLog(PerRun(2, 40, 100_000), PerRun(12, 60, 150_000), left=0.2, forgotten=True)
    assert log.of(7) == PerRun(7, 50, 125_000)
    assert log.of(2) == log.few


@pytest.mark.slow
def test_runs_leave_rows_and_bytes_and_what_is_deleted_is_forgotten(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    with sqlite(tmp_path / "home") as storage:
        found = measured_in(tmp_path / "made", tmp_path / "mirror", storage)
        assert storage.instance.get_runs_count() == 0
    assert (found.few.variables, found.forgotten, RUNS) == (len(FEW), True, 4)
    assert 20 < found.few.rows < found.many.rows < 300
    assert 50_000 < found.few.bytes < found.many.bytes < 2_000_000
    assert found.left < 0.5
