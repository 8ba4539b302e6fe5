"""Dagster's own processes: code server, webserver and daemon, driven as the UI and the command line drive them."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import xarray as xr

from dataset_defs.noaa.gfs.forecast import DATASET as GFS
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.store.reading import open_published
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.orchestration.names import K8S_TAG, k8s_config
from tests.datasets import INIT, PRIMARY, SECOND, TEMPERATURE, THIRD, Sample, Site, assert_forecast_true, gfs_forecast

pytest_plugins = ["tests.datasets"]
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LABELS = [INIT, SECOND, THIRD]
CONFIG = {"ops": {"test__gfs_forecast": {"config": {"variables": [TEMPERATURE]}}}}
DAGSTER_YAML = """\
telemetry: {enabled: false}
python_logs: {python_log_level: INFO, managed_python_loggers: [reformatters_dagster]}
run_coordinator:
  module: reformatters_dagster.orchestration.run_coordinator
  class: DatasetRunCoordinator
  config: {max_concurrent_runs: 3, dequeue_interval_seconds: 1}
"""
LAUNCH = """mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on Error { message }
  }
}"""
LOCATIONS = "{workspaceOrError {... on Workspace {locationEntries {loadStatus}}}}"


@dataclass
class Stack:
    """Processes of one deployment, and the folder they share."""

    folder: Path
    environment: dict[str, str]
    processes: ExitStack

    @property
    def home(self) -> Path:
        return self.folder / "dagster"

    def start(self, name: str, *arguments: str) -> None:
        """Start one of Dagster's services; it is ended with the stack."""
        log = self.processes.enter_context((self.folder / f"{name}.log").open("wb"))
        command = [sys.executable, "-m", *arguments]
        process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        self.processes.callback(self._end, process)

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def logs(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()[-2000:]}" for path in self.folder.glob("*.log"))

    def wait_for(self, condition: Callable[[], object], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.logs()
            time.sleep(0.3)


@pytest.fixture
def stack(tmp_path: Path, gfs_sample: Sample) -> Iterator[Stack]:
    """A DAGSTER_HOME and the settings of a deployment whose upstream has three init times; nothing runs yet."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(DAGSTER_YAML)
    environment = os.environ | {
        "DAGSTER_HOME": str(home),
        "TEST_TEMPLATES": str(tmp_path / "templates"),
        "REFORMATTERS_STORE": str(tmp_path / "primary"),
        "REFORMATTERS_UPSTREAM": str(tmp_path / "upstream"),
        "REFORMATTERS_TMP": str(tmp_path / "tmp"),
    }
    with ExitStack() as processes:
        yield Stack(tmp_path, environment, processes)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def answers(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def ask(port: int, query: str, **variables: Any) -> dict[str, Any]:
    """One request to the webserver, as the pages of the UI make it."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    assert "errors" not in found, found["errors"]
    data: dict[str, Any] = found["data"]
    return data


def loaded(port: int) -> bool:
    if not answers(port):
        return False
    (entry,) = ask(port, LOCATIONS)["workspaceOrError"]["locationEntries"]
    return bool(entry["loadStatus"] == "LOADED")


def test_a_backfill_from_the_webserver_fills_three_partitions_in_parallel(stack: Stack, gfs_sample: Sample) -> None:
    site = Site(stack.folder, gfs_forecast(stack.folder / "templates"), gfs_sample)
    site.arrive(*LABELS)
    code, web = free_port(), free_port()
    workspace = stack.folder / "workspace.yaml"
    location = {"host": "127.0.0.1", "port": code, "location_name": "tests.orchestration.code_location"}
    workspace.write_text(json.dumps({"load_from": [{"grpc_server": location}]}))
    stack.start("code", "dagster", "api", "grpc", "-p", str(code), "-m", "tests.orchestration.code_location")
    stack.wait_for(lambda: answers(code), 90)
    stack.start("webserver", "dagster_webserver", "-h", "127.0.0.1", "-p", str(web), "-w", str(workspace))
    stack.wait_for(lambda: loaded(web), 90)

    params = {
        "assetSelection": [{"path": ["test", "gfs_forecast"]}],
        "partitionNames": [partition_key(label) for label in LABELS],
        "runConfigData": CONFIG,
    }
    launched = ask(web, LAUNCH, params=params)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    # Its first look at backfills is at once, the next after 30 s.
    stack.start("daemon", "dagster._daemon", "run", "-w", str(workspace))

    with dg.DagsterInstance.from_config(str(stack.home)) as instance:
        over = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE])
        stack.wait_for(lambda: instance.get_runs_count(over) == len(LABELS), 180)
        records = instance.get_run_records()
        failed = [run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))]
        assert failed == [], [log.user_message for run_id in failed for log in instance.all_logs(run_id)]
        stats = [instance.get_run_stats(record.dagster_run.run_id) for record in records]
        assert max(one.launch_time or 0 for one in stats) < min(one.end_time or 0 for one in stats)
        for run in (record.dagster_run for record in records):
            assert run.tags["dagster/backfill"] == launched["backfillId"]
            assert json.loads(run.tags[K8S_TAG]) == k8s_config(site.dataset)
            said = [log.user_message for log in instance.all_logs(run.run_id)]
            assert any("region=" in one and "missing=0" in one for one in said)
    ds = open_published(site.stores.primary)
    for label in LABELS:
        assert_forecast_true(ds, label, variables=[TEMPERATURE])
    assert site.tmp_files() == []


def test_the_command_line_of_dagster_materializes_a_partition_of_the_real_dataset(
    stack: Stack, shared_data: Path
) -> None:
    mirrored = stack.folder / "upstream" / PRIMARY / "gfs.20260729/18/atmos/gfs.t18z.pgrb2.0p25.f000"
    mirrored.parent.mkdir(parents=True)
    shutil.copyfile(shared_data / "gfs/FahrenheitResearch__arwen--s3-raw-tmp2m-20260729t18z-f000.grib2", mirrored)
    mirrored.with_name(f"{mirrored.name}.idx").write_text("1:0:d=2026072918:TMP:2 m above ground:anl:\n")
    config = {"ops": {"noaa__gfs_forecast": {"config": {"variables": [TEMPERATURE]}}}}
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "dataset_defs.noaa.definitions"]
    command += [
        "--select",
        "noaa/gfs_forecast",
        "--partition",
        partition_key(INIT),
        "--config-json",
        json.dumps(config),
    ]
    environment = stack.environment | {"REFORMATTERS_START": "2026-07-29T18"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    settings = Settings(store=str(stack.folder / "primary"), start=INIT)
    url = settings.stores(GFS.started_by(settings).template_config).primary.url
    field = xr.open_zarr(url, chunks=None, decode_timedelta=True)[TEMPERATURE]
    north_pole = float(field.sel(init_time=INIT, lead_time="0h", latitude=90, longitude=0))
    assert north_pole == pytest.approx(273.11494140625 - 273.15, rel=2**-8, abs=3e-5)
