"""What runs need from the machine they run on.

In: the environment and the clock. Out: settings, the stores of a dataset, and a place for small outputs of steps.
"""

import json
import os
import time
from datetime import UTC, datetime

import dagster as dg
import pandas as pd
from dagster._core.storage.tags import ROOT_RUN_ID_TAG
from pydantic import Field

from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.errors import Refused
from reformatters_dagster.core.spec.retries import Patience
from reformatters_dagster.core.spec.values import JSON, Timestamp
from reformatters_dagster.core.store.settings import Settings, Workspace
from reformatters_dagster.core.store.stores import open_store
from reformatters_dagster.orchestration.pages import Pages
from reformatters_dagster.orchestration.pods import Pods

RUNS = "_runs"


def environment_settings() -> Settings:
    """The `REFORMATTERS_*` variables of this process."""
    return Settings.from_environment(os.environ)


def environment_alert_targets() -> tuple[str | None, str | None]:
    """`REFORMATTERS_ALERT_WEBHOOK` and `SENTRY_DSN` of this process; None where unset or empty."""
    return os.environ.get("REFORMATTERS_ALERT_WEBHOOK") or None, os.environ.get("SENTRY_DSN") or None


def environment_pages() -> Pages:
    """`REFORMATTERS_OWNERS` and `REFORMATTERS_CODE_URL` of this process."""
    return Pages.parse(os.environ.get("REFORMATTERS_OWNERS"), os.environ.get("REFORMATTERS_CODE_URL"))


def dagster_home() -> str | None:
    """`DAGSTER_HOME` of this process: where the instance's `dagster.yaml` is; None where unset or empty."""
    return os.environ.get("DAGSTER_HOME") or None


def environment_pods() -> Pods:
    """`REFORMATTERS_SCRATCH_CLASS`, `REFORMATTERS_TMP` and `REFORMATTERS_PODS` of this process."""
    return Pods.parse(*(os.environ.get(f"REFORMATTERS_{name}") for name in ("SCRATCH_CLASS", "TMP", "PODS")))


def environment_validates() -> bool:
    """`REFORMATTERS_VALIDATE` of this process: whether schedules of validation are on where nobody has switched them.

    Raises
    ------
    Refused
        When it is neither true nor false.
    """
    found = os.environ.get("REFORMATTERS_VALIDATE") or "false"
    if found not in {"true", "false"}:
        raise Refused(f"REFORMATTERS_VALIDATE is {found!r}; write true or false")
    return found == "true"


def in_cluster() -> bool:
    """Whether this process runs in a Kubernetes pod: Kubernetes sets this variable in every pod."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def utc_now() -> Timestamp:
    """The wall clock, naive UTC."""
    return pd.Timestamp(datetime.now(UTC).replace(tzinfo=None)).as_unit("us")


class Reformatters(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Stores, upstream and tmp folder of this deployment."""

    store: str
    replicas: list[str] = Field(default_factory=list)
    upstream: str | None = None
    tmp: str | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> "Reformatters":
        return cls(store=settings.store, replicas=list(settings.replicas), upstream=settings.upstream, tmp=settings.tmp)

    def settings(self) -> Settings:
        return Settings(store=self.store, replicas=tuple(self.replicas), upstream=self.upstream, tmp=self.tmp)

    def open(self, dataset: DynamicalDataset, patience: Patience | None = None) -> tuple[DynamicalDataset, Workspace]:
        """A dataset from where its store starts, and the places it needs, open.

        Parameters
        ----------
        patience : Patience, optional
            How long to wait for archives and stores.
        """
        workspace = dataset.workspace(self.settings(), patience, wall_clock=time.time)
        return dataset.as_begun(workspace.stores.primary), workspace


class JsonIOManager(dg.ConfigurableIOManager):
    """Keeps outputs of steps as JSON objects beside the primary stores, so that any pod can read them.

    The commit of a run removes them. Those of a failed run stay, so that it can be executed again from its failure.
    """

    base_url: str

    def handle_output(self, context: dg.OutputContext, obj: JSON) -> None:
        open_store(self.base_url, RUNS).put(_key(context), json.dumps(obj).encode())

    def load_input(self, context: dg.InputContext) -> JSON:
        assert context.upstream_output is not None
        found, _ = open_store(self.base_url, RUNS).get(_key(context.upstream_output))
        loaded: JSON = json.loads(found)
        return loaded


def forget_outputs(base_url: str, run: dg.DagsterRun, instance: dg.DagsterInstance) -> None:
    """Remove the step outputs of a run, and of the failed runs that it continues, first to last."""
    store, root = open_store(base_url, RUNS), run.root_run_id or run.run_id
    chain = instance.get_runs(dg.RunsFilter(tags={ROOT_RUN_ID_TAG: root}))
    for run_id in sorted({root, run.run_id, *(one.run_id for one in chain)}):
        for key, _ in store.list(run_id):
            store.delete(key)


def _key(context: dg.OutputContext) -> str:
    return "/".join(context.get_identifier()) + ".json"
