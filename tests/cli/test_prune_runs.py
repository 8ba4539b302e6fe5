"""`prune-runs`: what it says, and what it refuses. What stays is tested beside the orchestration."""

from pathlib import Path

import dagster as dg
import pytest

from reformatters_dagster.orchestration import pruning
from tests.cli.deployment import Deployment
from tests.orchestration.history import KEY, History


def test_the_command_says_what_it_did(empty: Deployment, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("{}")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        history = History(instance)
        for days in (100, 99, 98):
            history.run(days, partition="a")
    wanted = ("prune-runs", "--older-than", "90D")
    dry = empty.reformat(*wanted, "--dry-run", "--json", DAGSTER_HOME=str(home))
    assert dry.exit_code == 0, dry.output
    done = empty.reformat(*wanted, DAGSTER_HOME=str(home))
    assert done.stdout.startswith("deleted: 2 runs that ended before ")
    assert f"kept: 1 older run: {pruning.NEWEST_OF_PARTITION}" in done.stdout
    assert "looked at 3 runs, 2 of them go" in done.stderr
    again = empty.reformat(*wanted, DAGSTER_HOME=str(home))
    assert again.stdout.startswith("deleted: 0 runs")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_materialized_partitions(KEY) == {"a"}


@pytest.mark.parametrize(
    ("age", "home", "words"),
    [
        ("90", "", "--older-than '90' is no age; write days as 90D"),
        ("soon", "", "--older-than 'soon' is no age; write days as 90D"),
        ("2D", "", "give 14D or more"),
        ("90D", "", "DAGSTER_HOME is not set: set it to the folder of dagster.yaml"),
    ],
)
def test_what_cannot_be_done_is_refused(empty: Deployment, age: str, home: str, words: str) -> None:
    result = empty.reformat("prune-runs", "--older-than", age, DAGSTER_HOME=home)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
