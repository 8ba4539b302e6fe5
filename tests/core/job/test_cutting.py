"""A dataset is cut into jobs by whole shards and batches of variables."""

from collections.abc import Sequence
from typing import Any

import pytest

from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.spec.errors import UnknownVariable
from reformatters_dagster.core.spec.values import MOMENT, Timestamp
from tests.datasets import IN_ORDER, INIT, INSTANT, RAIN, SECOND, SUN, TEMPERATURE, THIRD, WIND, WINDOWED, Site
from tests.processed import HOUR, jobs_of

pytest_plugins = ["tests.datasets"]


def gist(jobs: Sequence[RegionJob[Any]]) -> list[tuple[Timestamp, tuple[str, ...]]]:
    """First label and variables of each job."""
    return [(job.label, tuple(data_var.name for data_var in job.data_vars)) for job in jobs]


INITS = (INIT, SECOND, THIRD)


@pytest.mark.parametrize(
    ("filters", "inits"),
    [
        ({}, INITS),
        ({"start": SECOND}, (SECOND, THIRD)),
        ({"start": SECOND + HOUR}, (THIRD,)),
        ({"start": THIRD + MOMENT}, ()),
        ({"end": SECOND}, (INIT,)),
        ({"end": INIT}, ()),
        ({"end": THIRD + 100 * HOUR}, INITS),
        ({"start": SECOND, "end": THIRD}, (SECOND,)),
        ({"start": THIRD, "end": SECOND}, ()),
        ({"contains": [THIRD, INIT, THIRD]}, (INIT, THIRD)),
        ({"contains": [SECOND + HOUR]}, ()),
        ({"contains": []}, ()),
        ({"contains": [INIT, SECOND], "start": SECOND}, (SECOND,)),
    ],
)
def test_time_filters_intersect(site: Site, filters: dict[str, Any], inits: tuple[Timestamp, ...]) -> None:
    assert gist(jobs_of(site, **filters)) == [(init, IN_ORDER) for init in inits]


def test_whole_shards_are_kept(analysis: Site) -> None:
    jobs = jobs_of(analysis, start=SECOND - HOUR, end=SECOND + HOUR)
    assert [job.region for job in jobs] == [slice(0, 6), slice(6, 12)]


@pytest.mark.parametrize(
    ("size", "batches"),
    [
        (None, [IN_ORDER]),
        (4, [tuple(sorted(WINDOWED)), tuple(sorted(INSTANT))]),
        (1, [(SUN,), (RAIN,), (TEMPERATURE,), (WIND,)]),
    ],
)
def test_variables_of_one_file_stay_together_up_to_the_limit(
    site: Site, size: int | None, batches: list[tuple[str, ...]]
) -> None:
    assert gist(jobs_of(site, max_vars_per_job=size)) == [(init, batch) for init in INITS for batch in batches]


def test_variables_are_chosen_by_name(site: Site) -> None:
    assert gist(jobs_of(site, variables=[WIND, RAIN], start=THIRD)) == [(THIRD, (RAIN, WIND))]
    assert jobs_of(site, variables=[]) == []
    with pytest.raises(
        UnknownVariable, match=r"\['snow'\] were asked for; test-gfs-forecast has .*temperature_2m, wind_u_10m"
    ):
        jobs_of(site, variables=["snow", WIND])
