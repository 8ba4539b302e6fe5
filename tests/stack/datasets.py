"""Datasets of coarse grids, one for each test, so that tests share a stack and nothing else.

In: when the archive starts. Out: the same datasets in the code location and in the test.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.declaration import Resources
from reformatters_dagster.core.spec.axes import AppendAxis
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from tests.datasets import RAIN, TEMPERATURE, VARIABLES, gfs_forecast

CYCLE = Timedelta("6h")
DECLARED: Mapping[str, Mapping[str, Any]] = {
    "filled": {},
    "watched": {},
    "grouped": {"pods": "group"},
    "killed": {},
    "hung": {},
    "refused": {},
    "starved": {"resources": Resources(cpu="500m", memory="1Gi", ephemeral_storage="1Gi")},
    "twins": {},
    "upgraded": {},
}
"""What the datasets declare beside their template."""
GROUPED = (TEMPERATURE, RAIN)
"""Variables of the dataset whose groups have pods of their own: as many groups."""


def dataset_named(name: str, templates: Path, start: Timestamp) -> DynamicalDataset:
    """The forecast of a test, `test-<name>-forecast`; its template is committed to the folder."""
    declared = DECLARED[name]
    variables = GROUPED if "pods" in declared else VARIABLES
    axis = AppendAxis(name="init_time", start=start, frequency="6h")
    made = gfs_forecast(templates, dataset_id=f"test-{name}-forecast", append_dim=axis, variables=variables)
    return replace(made, **declared)
