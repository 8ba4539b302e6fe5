"""What a job cost, on its way from one pod to the next."""

from reformatters_dagster.core.job.context import JobStats


def test_figures_of_other_code_are_left_out_or_empty() -> None:
    """A run may be executed again by older code after a rollback, and by newer code after a rollout."""
    stats = JobStats(bytes_in=3, kept=["temperature_2m"])
    assert JobStats.from_json(stats.to_json() | {"watts": 5}) == stats
    assert JobStats.from_json({"bytes_in": 3, "kept": ["temperature_2m"]}) == stats
