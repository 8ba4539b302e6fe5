"""The webserver's API, asked as the pages of the UI ask it."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.orchestration.names import asset_key

LOCATIONS = """{workspaceOrError {
  ... on Workspace {locationEntries {loadStatus displayMetadata {key value} locationOrLoadError {__typename}}}
}}"""
BACKFILL = """mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess {backfillId} ... on Error {message}
  }
}"""
BACKFILL_STATUS = "query ($id: String!) {partitionBackfillOrError(backfillId: $id) {... on PartitionBackfill {status}}}"
LAUNCH = """mutation ($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename ... on LaunchRunSuccess {run {runId}} ... on Error {message}
  }
}"""
RUNS = """query ($filter: RunsFilter!) {
  runsOrError(filter: $filter) {
    __typename ... on Runs {results {runId status rootRunId tags {key value}}} ... on Error {message}
  }
}"""
EVENTS = """query ($id: ID!) {
  logsForRun(runId: $id, limit: 1000) {
    ... on EventConnection {events {__typename ... on MessageEvent {message} ... on ErrorEvent {error {message}}}}
  }
}"""
SENSOR = """query ($sensor: SensorSelector!) {
  sensorOrError(sensorSelector: $sensor) {
    ... on Sensor {sensorState {id status ticks(limit: 1) {status skipReason error {message}}}}
  }
}"""
START = "mutation ($sensor: SensorSelector!) {startSensor(sensorSelector: $sensor) {__typename ... on Error {message}}}"
STOP = "mutation ($id: String!) {stopSensor(id: $id) {__typename ... on Error {message}}}"
REPOSITORY = "__repository__"
ENDED = ("SUCCESS", "FAILURE", "CANCELED")


@dataclass(frozen=True)
class Run:
    """One run, as the webserver tells of it."""

    run_id: str
    status: str
    root: str
    tags: Mapping[str, str]

    @property
    def is_over(self) -> bool:
        return self.status in ENDED


@dataclass(frozen=True)
class Webserver:
    """A webserver on loopback with one code location."""

    port: int
    location: str

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        url = f"http://127.0.0.1:{self.port}/graphql"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
        assert "errors" not in found, found["errors"]
        data: dict[str, Any] = found["data"]
        return data

    def loaded_image(self) -> str:
        """The image of the code location that it has loaded; empty where it has not, or does not answer yet."""
        try:
            (entry,) = self.ask(LOCATIONS)["workspaceOrError"]["locationEntries"]
        except urllib.error.URLError:
            return ""
        kind = (entry["locationOrLoadError"] or {}).get("__typename")
        if (entry["loadStatus"], kind) != ("LOADED", "RepositoryLocation"):
            return ""
        (image,) = [fact["value"] for fact in entry["displayMetadata"] if fact["key"] == "image"]
        return str(image)

    def backfill(self, dataset: DynamicalDataset, labels: Iterable[Timestamp], **config: Any) -> str:
        """Launch a backfill of partitions from the asset's page; its id."""
        key = asset_key(dataset)
        params = {
            "assetSelection": [{"path": key.path}],
            "partitionNames": [partition_key(label) for label in labels],
            "runConfigData": {"ops": {key.to_python_identifier(): {"config": config}}},
        }
        launched = self.ask(BACKFILL, params=params)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        backfill_id: str = launched["backfillId"]
        return backfill_id

    def backfill_status(self, backfill_id: str) -> str:
        status: str = self.ask(BACKFILL_STATUS, id=backfill_id)["partitionBackfillOrError"]["status"]
        return status

    def launch(self, dataset: DynamicalDataset, kind: str, label: Timestamp, **tags: str) -> str:
        """Launch one of the dataset's jobs for one partition; its run id. In tags, `__` stands for `/`."""
        every = {"dagster/partition": partition_key(label)}
        every |= {name.replace("__", "/"): value for name, value in tags.items()}
        selector = {
            "repositoryName": REPOSITORY,
            "repositoryLocationName": self.location,
            "pipelineName": dataset.job_name(kind),
        }
        metadata = {"tags": [{"key": key, "value": value} for key, value in every.items()]}
        params = {"selector": selector, "mode": "default", "executionMetadata": metadata}
        launched = self.ask(LAUNCH, params=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run_id: str = launched["run"]["runId"]
        return run_id

    def runs(self, **tags: str) -> list[Run]:
        """Runs with these tags, oldest first; `__` stands for `/`."""
        return self._runs({"tags": [{"key": key.replace("__", "/"), "value": value} for key, value in tags.items()]})

    def run(self, run_id: str) -> Run:
        (run,) = self._runs({"runIds": [run_id]})
        return run

    def attempts(self, root: str) -> list[Run]:
        """A run and those that Dagster began in its place, first to last."""
        return [self.run(root), *self.runs(dagster__root_run_id=root)]

    def _runs(self, chosen: dict[str, Any]) -> list[Run]:
        found = self.ask(RUNS, filter=chosen)["runsOrError"]
        assert found["__typename"] == "Runs", found
        return [
            Run(one["runId"], one["status"], one["rootRunId"], {tag["key"]: tag["value"] for tag in one["tags"]})
            for one in reversed(found["results"])
        ]

    def said(self, run_id: str) -> list[str]:
        """What the run's page lists: messages of events, and of errors."""
        events = self.ask(EVENTS, id=run_id)["logsForRun"]["events"]
        errors = [(event.get("error") or {}).get("message", "") for event in events]
        return [event.get("message", "") for event in events] + [error for error in errors if error]

    def start_sensor(self, name: str) -> None:
        started = self.ask(START, sensor=self._sensor(name))["startSensor"]
        assert "message" not in started, started

    def stop_sensor(self, name: str) -> None:
        state = self.ask(SENSOR, sensor=self._sensor(name))["sensorOrError"]["sensorState"]
        stopped = self.ask(STOP, id=state["id"])["stopSensor"]
        assert "message" not in stopped, stopped

    def _sensor(self, name: str) -> dict[str, str]:
        return {"repositoryName": REPOSITORY, "repositoryLocationName": self.location, "sensorName": name}

    def last_look(self, name: str) -> dict[str, Any]:
        """The sensor's newest tick that is over: status, skipReason and error; empty before."""
        ticks = self.ask(SENSOR, sensor=self._sensor(name))["sensorOrError"]["sensorState"]["ticks"]
        over: list[dict[str, Any]] = [tick for tick in ticks if tick["status"] != "STARTED"]
        return over[0] if over else {}
