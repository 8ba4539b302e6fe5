"""The examples of run config in docs/operations.md do what the page says."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]

from dataset_defs.noaa.definitions import defs
from reformatters_dagster.core.spec.partition import partition_key
from tests.datasets import INIT, RAIN, SECOND, TEMPERATURE, THIRD
from tests.orchestration.deployments import Deployment

pytest_plugins = ["tests.datasets"]

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
EXAMPLES = [
    block for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL) if block.startswith("ops:")
]
VARIABLES, FORCED, KNOWN_MISSING = EXAMPLES


def submitted(deployment: Deployment, kind: str, example: str, label: Any) -> dg.ExecuteInProcessResult:
    """A run with an example as it stands, but for the key of the dataset."""
    config = yaml.safe_load(example.replace("noaa__gfs_forecast", deployment.key.to_python_identifier()))
    return deployment.job(kind).execute_in_process(config, deployment.instance, partition_key=partition_key(label))


def test_they_are_those_of_a_dataset_that_there_is() -> None:
    for kind, example in (("backfill", VARIABLES), ("backfill", FORCED), ("update", KNOWN_MISSING)):
        dg.validate_run_config(defs.resolve_job_def(f"noaa_gfs_forecast__{kind}"), yaml.safe_load(example))


@pytest.mark.slow
def test_each_does_what_the_page_says(deployment: Deployment) -> None:
    site = deployment.site
    site.arrive(INIT, THIRD)
    deployment.run("update", INIT)
    before = site.ledger()
    assert before is not None
    submitted(deployment, "backfill", VARIABLES, INIT)
    entry = site.ledger()
    assert entry is not None
    assert set(entry.ran) == {TEMPERATURE, RAIN}

    site.remove(3)
    deployment.run("backfill", INIT)
    kept = site.ledger()
    assert kept is not None
    assert kept.is_complete, "a file that is gone costs nothing"
    submitted(deployment, "backfill", FORCED, INIT)
    forced = site.ledger()
    assert forced is not None
    assert not forced.is_complete

    submitted(deployment, "update", KNOWN_MISSING, SECOND)
    missing = site.ledger(SECOND)
    assert missing is not None
    assert missing.known_missing
    deployment.run("update", THIRD)
    assert site.read().sizes["init_time"] == 3
