"""Figures for Prometheus: what Dagster's daemons, queue and sensors do, and how fresh and complete each store is.

In: an instance, datasets and their stores. Out: metrics in Prometheus' text format at `/metrics`, and `/healthz`.

A scrape reads the instance, and never waits for a store: stores are looked at aside, once a minute, and each look reads the
metadata and the newest few ledger entries of each. Labels name daemons, sensors, modes, datasets and replicas.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from socketserver import ThreadingMixIn
from threading import Event, Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import dagster as dg
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.orchestration.looks import NEWEST, StoreLooks, completeness, next_label_due, ticking
from reformatters_dagster.orchestration.names import HEAL, MODE_TAG, UPDATE

log = logging.getLogger(__name__)

LOOK_EVERY = 60.0
MODES = (UPDATE, HEAL, "backfill", "initialise", "validate")
STATUSES = {
    "queued": [dg.DagsterRunStatus.QUEUED],
    "started": [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING],
}


class Figures(Collector):
    """Everything that `/metrics` shows, computed when it is asked for."""

    def __init__(self, instance: dg.DagsterInstance, looks: StoreLooks, clock: Callable[[], Timestamp]) -> None:
        self._instance = instance
        self._looks = looks
        self._clock = clock

    def collect(self) -> Iterator[GaugeMetricFamily]:
        now = self._clock()
        seconds = now.tz_localize("UTC").timestamp()
        yield self._daemons(seconds)
        yield self._runs()
        yield from self._sensors(seconds)
        yield from self._stores(now)

    def _daemons(self, now: float) -> GaugeMetricFamily:
        beats = self._instance.get_daemon_heartbeats()
        age = _gauge(
            "daemon_heartbeat_age_seconds", "Since a daemon's last sign of life; +Inf if there was none.", "daemon"
        )
        for daemon in sorted({*self._instance.get_required_daemon_types(), *beats}):
            age.add_metric([daemon], now - beats[daemon].timestamp if daemon in beats else math.inf)
        return age

    def _runs(self) -> GaugeMetricFamily:
        runs = _gauge("runs", "Runs that wait in the queue or are at work, by mode.", "state", "mode")
        for state, statuses in STATUSES.items():
            counts = {
                mode: self._instance.get_runs_count(dg.RunsFilter(statuses=statuses, tags={MODE_TAG: mode}))
                for mode in MODES
            }
            every = self._instance.get_runs_count(dg.RunsFilter(statuses=statuses))
            for mode, count in {**counts, "other": max(every - sum(counts.values()), 0)}.items():
                runs.add_metric([state, mode], count)
        return runs

    def _sensors(self, now: float) -> Iterator[GaugeMetricFamily]:
        running = _gauge("sensor_running", "Whether a sensor or schedule is on.", "sensor")
        age = _gauge("sensor_tick_age_seconds", "Since the last tick of a sensor or schedule that is on.", "sensor")
        failing = _gauge("sensor_tick_failed", "Whether that tick failed.", "sensor")
        for one in ticking(self._instance, now):
            running.add_metric([one.name], one.is_running)
            if one.age is not None:
                age.add_metric([one.name], one.age)
                failing.add_metric([one.name], one.failed)
        yield from (running, age, failing)

    def _stores(self, now: Timestamp) -> Iterator[GaugeMetricFamily]:
        looks = self._looks
        looked = GaugeMetricFamily("reformatters_stores_look_age_seconds", "Since stores were last looked at.")
        if looks.looked_at is not None:
            looked.add_metric([], (now - looks.looked_at).total_seconds())
        unreadable = _gauge("store_unreadable", "Whether the last look at a store failed.", "dataset")
        age = _gauge("newest_label_age_seconds", "Age of the newest label that readers see.", "dataset")
        limit = _gauge(
            "newest_label_age_limit_seconds", "Age at which the next label's update begins at the latest.", "dataset"
        )
        complete = _gauge("completeness_ratio", f"Files used of those expected, newest {NEWEST} partitions.", "dataset")
        abandoned = _gauge("partitions_abandoned", "Partitions whose run ended before its commit.", "dataset")
        lacking = _gauge(
            "replica_partitions_lacking", "Partitions that a replica is known to lack.", "dataset", "replica"
        )
        for dataset in looks.datasets:
            name, report = dataset.dataset_id, looks.reports.get(dataset.dataset_id)
            unreadable.add_metric([name], name in looks.unreadable)
            if report is None:
                continue
            age.add_metric([name], (now - report.extent[1]).total_seconds())
            limit.add_metric([name], next_label_due(dataset).total_seconds())
            complete.add_metric([name], completeness(report.variables, report.partitions))
            abandoned.add_metric([name], len(report.abandoned))
            replicas = [copy.url for copy in looks.settings.stores(dataset.template_config).replicas]
            for replica in replicas:
                lacking.add_metric([name, replica], sum(one.replica == replica for one in report.degraded))
        yield from (looked, unreadable, age, limit, complete, abandoned, lacking)


def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"reformatters_{name}", words, labels=labels)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        log.debug(format, *args)


def open_server(figures: Figures, port: int, host: str = "0.0.0.0") -> WSGIServer:
    """A server of `/metrics` and `/healthz`; nothing is served until its `serve_forever` is called."""
    registry = CollectorRegistry()
    registry.register(figures)
    metrics = make_wsgi_app(registry)

    def answer(environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        path = environment["PATH_INFO"]
        if path == "/metrics":
            shown: Iterable[bytes] = metrics(environment, start)
            return shown
        is_health = path == "/healthz"
        start("200 OK" if is_health else "404 Not Found", [("Content-Type", "text/plain")])
        return [b"ok\n" if is_health else b"/metrics and /healthz are here\n"]

    return make_server(host, port, answer, server_class=_Server, handler_class=_Handler)


def look_always(looks: StoreLooks, clock: Callable[[], Timestamp], stop: Event) -> Thread:
    """Start to look at the stores every minute, until stopped."""

    def look_on() -> None:
        while not stop.is_set():
            looks.look(clock())
            stop.wait(LOOK_EVERY)

    thread = Thread(target=look_on, name="store-looks", daemon=True)
    thread.start()
    return thread
