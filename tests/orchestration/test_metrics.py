"""What Prometheus is told of daemons, the queue, sensors and stores."""

import math
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import dagster as dg
import pandas as pd
import pytest
import yaml  # type: ignore[import-untyped]
from dagster._core.scheduler.instigation import InstigatorType
from dagster._daemon.types import DaemonHeartbeat
from prometheus_client.parser import text_string_to_metric_families

from reformatters_dagster.core.run.replicas import mark
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.orchestration.looks import StoreLooks
from reformatters_dagster.orchestration.metrics import Figures, look_always, open_server
from reformatters_dagster.orchestration.names import MODE_TAG, UPDATE
from tests.datasets import INIT, LEADS, SOON, Site
from tests.helm.rendered import ROOT
from tests.orchestration.deployments import Deployment
from tests.orchestration.test_alerts import switch, tick

pytest_plugins = ["tests.datasets"]

NOW = INIT + SOON
ID = "test-gfs-forecast"

type Samples = dict[tuple[str, ...], float]


@contextmanager
def served(instance: dg.DagsterInstance, looks: StoreLooks, now: Timestamp = NOW) -> Iterator[str]:
    """The address of a server whose clock stands still."""
    with open_server(Figures(instance, looks, lambda: now), 0, "127.0.0.1") as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def get(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        text: str = answer.read().decode()
    return text


def scraped(instance: dg.DagsterInstance, looks: StoreLooks, now: Timestamp = NOW) -> Samples:
    """Values by metric and labels, as Prometheus' own parser reads them."""
    with served(instance, looks, now) as url:
        families = list(text_string_to_metric_families(get(f"{url}/metrics")))
    return {
        (sample.name.removeprefix("reformatters_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """One that keeps ticks, in files."""
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as made:
        yield made


@pytest.fixture
def looks(site: Site, instance: dg.DagsterInstance) -> StoreLooks:
    return StoreLooks([site.dataset], Deployment(site, instance).settings)


def test_daemons_show_their_age_and_those_that_never_lived(instance: dg.DagsterInstance, looks: StoreLooks) -> None:
    beat = (NOW - pd.Timedelta("90s")).tz_localize("UTC").timestamp()
    instance.add_daemon_heartbeat(DaemonHeartbeat(beat, "SENSOR", "id", []))
    samples = scraped(instance, looks)
    assert samples["daemon_heartbeat_age_seconds", "SENSOR"] == 90
    assert samples["daemon_heartbeat_age_seconds", "SCHEDULER"] == math.inf


def test_runs_are_counted_by_state_and_mode(instance: dg.DagsterInstance, looks: StoreLooks) -> None:
    @dg.job
    def job() -> None:
        """Never executed."""

    for tags, state in (
        ({MODE_TAG: UPDATE}, "STARTED"),
        ({MODE_TAG: UPDATE}, "STARTING"),
        ({}, "STARTED"),
        ({}, "FAILURE"),
    ):
        instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus[state])
    samples = scraped(instance, looks)
    counted = {key[1:][::-1]: value for key, value in samples.items() if key[0] == "runs" and value}
    assert counted == {("started", "update"): 2, ("started", "other"): 1}
    assert samples["runs", "backfill", "queued"] == 0


def test_sensors_show_whether_they_are_on_when_they_ticked_and_how(
    instance: dg.DagsterInstance, looks: StoreLooks
) -> None:
    tick(instance, "good", NOW - pd.Timedelta("30s"))
    tick(instance, "bad", NOW - pd.Timedelta("45min"), error=True)
    switch(instance, InstigatorType.SENSOR, "off", on=False)
    samples = scraped(instance, looks)
    assert {key[1]: value for key, value in samples.items() if key[0] == "sensor_running"} == {
        "good": 1,
        "bad": 1,
        "off": 0,
    }
    assert samples["sensor_tick_age_seconds", "good"] == 30
    assert (samples["sensor_tick_failed", "good"], samples["sensor_tick_failed", "bad"]) == (0, 1)
    assert ("sensor_tick_age_seconds", "off") not in samples


def test_a_store_shows_its_age_against_its_limit_and_how_complete_it_is(
    instance: dg.DagsterInstance, site: Site, looks: StoreLooks
) -> None:
    site.arrive(INIT, leads=LEADS[:5])
    site.backfill()
    before = scraped(instance, looks)
    assert ("newest_label_age_seconds", ID) not in before
    looks.look(NOW)
    samples = scraped(instance, looks, NOW + pd.Timedelta("10s"))
    assert samples["stores_look_age_seconds",] == 10
    assert samples["newest_label_age_seconds", ID] == SOON.total_seconds() + 10
    limit = pd.Timedelta("6h") + site.dataset.soft_deadline
    assert samples["newest_label_age_limit_seconds", ID] == limit.total_seconds()
    assert 0.4 < samples["completeness_ratio", ID] < 0.6
    assert (samples["store_unreadable", ID], samples["partitions_abandoned", ID]) == (0, 0)


def test_a_replica_that_lacks_partitions_is_counted(instance: dg.DagsterInstance, site: Site) -> None:
    site.arrive(INIT)
    site.backfill()
    settings = Deployment(site, instance).settings.model_copy(update={"replicas": (str(site.folder / "copy"),)})
    looks = StoreLooks([site.dataset], settings)
    stores = settings.stores(site.dataset.template_config)
    mark(stores.internal, stores.replicas[0], "2026-07-29T18:00", 0, reason="it was down")
    looks.look(NOW)
    assert scraped(instance, looks)["replica_partitions_lacking", ID, stores.replicas[0].url] == 1


def test_a_store_that_cannot_be_read_is_told_and_keeps_what_was_known(
    instance: dg.DagsterInstance, site: Site, looks: StoreLooks
) -> None:
    site.arrive(INIT)
    site.backfill()
    looks.look(NOW)
    root = site.folder / "primary" / ID
    (next(root.glob("v*.zarr")) / "zarr.json").write_text("{")
    looks.look(NOW)
    samples = scraped(instance, looks)
    assert samples["store_unreadable", ID] == 1
    assert samples["newest_label_age_seconds", ID] == SOON.total_seconds()  # what was known stays, and grows older


def test_where_there_is_no_store_nothing_is_late(instance: dg.DagsterInstance, looks: StoreLooks) -> None:
    looks.look(NOW)
    samples = scraped(instance, looks)
    assert samples["store_unreadable", ID] == 0
    assert ("newest_label_age_seconds", ID) not in samples


def test_health_answers_and_other_paths_say_what_there_is(instance: dg.DagsterInstance, looks: StoreLooks) -> None:
    with served(instance, looks) as url:
        assert get(f"{url}/healthz") == "ok\n"
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(f"{url}/")
        assert (caught.value.code, caught.value.read()) == (404, b"/metrics and /healthz are here\n")
        caught.value.close()


def test_stores_are_looked_at_aside_until_stopped(site: Site, looks: StoreLooks) -> None:
    looked, stop = Event(), Event()

    def clock() -> Timestamp:
        if looks.looked_at is None:
            looked.set()
        return NOW

    thread = look_always(looks, clock, stop)
    assert looked.wait(10)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert looks.looked_at == NOW


def test_the_alert_rules_name_what_is_shown(instance: dg.DagsterInstance, site: Site, looks: StoreLooks) -> None:
    rules = yaml.safe_load((ROOT / "helm" / "alerts.yaml").read_text())["groups"][0]["rules"]
    named = {name for rule in rules for name in re.findall(r"reformatters_[a-z_]+", rule["expr"])}
    with served(instance, looks) as url:
        shown = set(re.findall(r"^# TYPE (\S+) gauge$", get(f"{url}/metrics"), re.MULTILINE))
    assert named < shown
    assert all(rule["annotations"]["summary"] for rule in rules)
