"""A variable that a published dataset did not have: refused while nobody could read it, then filled by one command."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from reformatters_dagster.core.run.backfill import BackfillRequest, plan_backfill
from reformatters_dagster.core.run.status import VariableStatus, status
from reformatters_dagster.core.spec.errors import VariableNotPublished
from reformatters_dagster.core.spec.partition import partition_key
from tests.datasets import INIT, RAIN, SECOND, SOON, TEMPERATURE, WIND, Sample, Site, assert_forecast_true, gfs_forecast
from tests.orchestration.deployments import Deployment

pytest_plugins = ["tests.datasets"]

NOW = SECOND + SOON
COMMAND = (
    f"`reformat backfill test-gfs-forecast --overwrite-chunks --overwrite-metadata --variables {TEMPERATURE}` adds them"
)


@pytest.fixture
def grown(tmp_path: Path, gfs_sample: Sample) -> Site:
    """Two partitions of two variables are published; the template has a third by now."""
    before = Site(tmp_path, gfs_forecast(tmp_path / "before", variables=[RAIN, WIND]), gfs_sample)
    before.arrive(INIT, SECOND)
    before.backfill(NOW)
    return replace(before, dataset=gfs_forecast(tmp_path / "after", variables=[RAIN, TEMPERATURE, WIND]))


@pytest.mark.parametrize("chosen", [None, (TEMPERATURE,), (RAIN, TEMPERATURE)])
def test_data_that_nobody_could_read_is_not_written(grown: Site, chosen: tuple[str, ...] | None) -> None:
    before = grown.objects()
    with pytest.raises(VariableNotPublished, match=COMMAND):
        grown.backfill(NOW, overwrite_chunks=True, variables=chosen)
    with pytest.raises(VariableNotPublished, match=COMMAND):
        plan_backfill(grown.dataset, grown.workspace, BackfillRequest(overwrite_chunks=True, variables=chosen), NOW)
    assert grown.objects() == before
    grown.backfill(NOW, overwrite_chunks=True, variables=(RAIN,))


def test_dagster_refuses_it_with_the_same_words(grown: Site) -> None:
    before = grown.objects()
    with dg.DagsterInstance.ephemeral() as instance:
        _, told = Deployment(grown, instance).refused("backfill", INIT, variables=[TEMPERATURE])
    assert told.startswith("VariableNotPublished: ")
    assert COMMAND in told
    assert {key: data for key, data in grown.objects().items() if "_runs" not in key} == before


def test_one_command_adds_the_array_and_its_history(grown: Site) -> None:
    before = grown.objects()
    grown.backfill(NOW, overwrite_chunks=True, overwrite_metadata=True, variables=(TEMPERATURE,))
    ds = grown.read()
    assert list(ds.indexes["init_time"]) == [INIT, SECOND]
    for init in (INIT, SECOND):
        assert_forecast_true(ds, init)
        assert ds["ingested_forecast_length"].sel(init_time=init) == ds.indexes["lead_time"][-1]
    others = {key: data for key, data in before.items() if f"/{RAIN}/c/" in key or f"/{WIND}/c/" in key}
    assert len(others) == 8
    assert {key: grown.objects()[key] for key in others} == others


def test_its_coverage_is_told_until_it_is_complete(grown: Site) -> None:
    def coverage() -> dict[str, VariableStatus]:
        return status(grown.dataset, grown.stores).coverage

    both, none = VariableStatus(written=2, complete=2), VariableStatus(written=0, complete=0)
    assert coverage() == {RAIN: both, TEMPERATURE: none, WIND: both}
    grown.remove(3, init_time=SECOND)
    grown.backfill(NOW, overwrite_chunks=True, overwrite_metadata=True, variables=(TEMPERATURE,), start=SECOND)
    assert coverage()[TEMPERATURE] == VariableStatus(written=1, complete=0)
    assert status(grown.dataset, grown.stores).last_complete is None
    grown.arrive(SECOND, leads=[3])
    grown.backfill(NOW, overwrite_chunks=True, variables=(TEMPERATURE,))
    assert coverage()[TEMPERATURE] == both
    assert status(grown.dataset, grown.stores).last_complete == partition_key(SECOND)
