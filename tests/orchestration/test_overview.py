"""The page that an operator opens first: what its table says of stores, replicas and sensors, and that Dagster records it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from dagster._core.scheduler.instigation import InstigatorType

from reformatters_dagster.core.run.replicas import mark
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.orchestration.looks import StoreLooks, ticking
from reformatters_dagster.orchestration.names import asset_key, overview_key
from reformatters_dagster.orchestration.overview import overview_metadata
from reformatters_dagster.orchestration.resources import Reformatters
from tests.datasets import INIT, LEADS, SECOND, SOON, Site
from tests.orchestration.deployments import Deployment, rows_of
from tests.orchestration.test_alerts import switch, tick

pytest_plugins = ["tests.datasets"]

NOW = INIT + SOON
LINK = "[test-gfs-forecast](/assets/test/gfs_forecast)"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """One that keeps ticks, in files."""
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as made:
        yield made


def shown(looks: StoreLooks, instance: dg.DagsterInstance, now: Timestamp = NOW) -> tuple[list[str], dict[str, Any]]:
    """What the dataset's row says, and the figures beside the table."""
    sensors = list(ticking(instance, now.tz_localize("UTC").timestamp()))
    found: dict[str, Any] = {name: value.value for name, value in overview_metadata(looks, sensors, now).items()}
    table = found.pop("overview")
    assert isinstance(table, str)
    (state,) = rows_of(table)[LINK]
    return state.split("; "), found


def looked_at(site: Site, instance: dg.DagsterInstance, **settings: Any) -> StoreLooks:
    looks = StoreLooks([site.dataset], Deployment(site, instance).settings.model_copy(update=settings))
    looks.look(NOW)
    return looks


def test_a_dataset_in_good_order_has_no_bold_words(site: Site, instance: dg.DagsterInstance) -> None:
    site.arrive(INIT)
    site.backfill()
    for kind in ("upstream", "heal"):
        tick(instance, site.dataset.job_name(kind), NOW - pd.Timedelta("1min"))
    told, figures = shown(looked_at(site, instance), instance)
    assert told == [
        "2026-07-29T18:00 is 5.0 h old, the next is due at 12 h",
        "last week 100 % of 1 partition",
        "sensors: upstream on, heal on",
    ]
    assert set(figures.values()) == {0}


def test_what_is_wrong_is_bold_and_counted(site: Site, instance: dg.DagsterInstance) -> None:
    site.arrive(INIT, leads=LEADS[:5])
    site.backfill()
    replica = str(site.folder / "copy")
    looks = looked_at(site, instance, replicas=(replica,))
    stores = looks.settings.stores(site.dataset.template_config)
    mark(stores.internal, stores.replicas[0], "2026-07-29T18:00", 0, reason="it was down")
    looks.look(NOW)
    later = INIT + pd.Timedelta("13h")
    tick(instance, site.dataset.job_name("upstream"), later - pd.Timedelta("2h"))
    tick(instance, site.dataset.job_name("heal"), later - pd.Timedelta("1min"), error=True)
    told, figures = shown(looks, instance, later)
    assert told[0] == "**late**: 2026-07-29T18:00 is 13.0 h old, the next is due at 12 h"
    share, _, lacking = told[1].removeprefix("last week **").partition(" %**, ")
    assert 40 < float(share) < 60
    assert lacking == "1 of 1 partition incomplete"
    assert told[2:] == ["replicas lack **1 partition**", "sensors: upstream **silent for 2.0 h**, heal **fails**"]
    assert figures == {
        "datasets_late": 1,
        "datasets_incomplete": 1,
        "stores_unreadable": 0,
        "replicas_lacking": 1,
        "stale_sensors": 2,
    }


def test_sensors_that_are_off_are_told_and_are_not_stale(site: Site, instance: dg.DagsterInstance) -> None:
    switch(instance, InstigatorType.SENSOR, site.dataset.job_name("upstream"), on=False)
    told, figures = shown(looked_at(site, instance), instance)
    assert told == ["no store yet", "sensors: upstream off, heal off"]
    assert figures["stale_sensors"] == 0


def test_a_store_that_cannot_be_read_is_told(site: Site, instance: dg.DagsterInstance) -> None:
    site.arrive(INIT)
    site.backfill()
    root = site.folder / "primary" / site.dataset.dataset_id
    (next(root.glob("v*.zarr")) / "zarr.json").write_text("{")
    told, figures = shown(looked_at(site, instance), instance)
    assert (told[0], figures["stores_unreadable"]) == ("**cannot be read**", 1)


def test_only_partitions_of_the_last_week_count(site: Site, instance: dg.DagsterInstance) -> None:
    site.arrive(INIT, leads=LEADS[:5])
    site.arrive(SECOND)
    deployment = Deployment(site, instance)
    deployment.run("update", INIT)
    deployment.run("update", SECOND)
    looks = looked_at(site, instance)
    assert shown(looks, instance)[0][1].endswith(", 1 of 2 partitions incomplete")
    assert shown(looks, instance, SECOND + pd.Timedelta("7D"))[0][1] == "last week 100 % of 1 partition"
    assert shown(looks, instance, SECOND + pd.Timedelta("30D"))[0][1] == "last week 100 % of 1 partition"


def test_the_sensor_runs_from_the_start_and_its_table_is_on_the_page(site: Site, instance: dg.DagsterInstance) -> None:
    site.arrive(INIT)
    site.backfill()
    deployment = Deployment(site, instance)
    definitions, key = deployment.definitions, overview_key(site.dataset.provider)
    assert key in definitions.resolve_asset_graph().external_asset_keys
    sensor = definitions.resolve_sensor_def("test__overview")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    resources = {"reformatters": Reformatters.from_settings(deployment.settings)}
    with dg.build_sensor_context(instance=instance, definitions=definitions, resources=resources) as context:
        found = sensor.evaluate_tick(context)
    assert (found.run_requests or [], found.skip_message) == ([], "the overview was recorded")
    for event in found.asset_events:
        instance.report_runless_asset_event(event)
    (record,) = instance.fetch_observations(key, limit=5).records
    assert record.asset_observation is not None
    table = record.asset_observation.metadata["overview"].value
    assert isinstance(table, str)
    assert rows_of(table)[LINK][0].startswith("**late**: 2026-07-29T18:00 is ")
    assert f"/assets/{'/'.join(asset_key(site.dataset).path)}" in LINK
