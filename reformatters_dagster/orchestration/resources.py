"""What runs need from where they run: settings from the environment, and a place for small step outputs."""

import json
import os
from datetime import UTC, datetime

import dagster as dg
import pandas as pd
from pydantic import Field

from reformatters_dagster.core.dataset import DynamicalDataset
from reformatters_dagster.core.download import Patience
from reformatters_dagster.core.settings import Settings, Workspace
from reformatters_dagster.core.storage import open_store
from reformatters_dagster.core.types import JSON, Timestamp


def environment_settings() -> Settings:
    """The `REFORMATTERS_*` variables of this process."""
    return Settings.from_environment(os.environ)


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

    def workspace(self, dataset: DynamicalDataset, patience: Patience | None = None) -> Workspace:
        """Open everything one dataset needs; `patience` says how long archives are waited for."""
        return dataset.workspace(self.settings(), patience)


class JsonIOManager(dg.ConfigurableIOManager):
    """Keeps step outputs as JSON objects beside the primary stores, so that any pod, or a retry in a new one, reads them."""

    base_url: str

    def handle_output(self, context: dg.OutputContext, obj: JSON) -> None:
        open_store(self.base_url, "_runs").put(_key(context), json.dumps(obj).encode())

    def load_input(self, context: dg.InputContext) -> JSON:
        assert context.upstream_output is not None
        found, _ = open_store(self.base_url, "_runs").get(_key(context.upstream_output))
        loaded: JSON = json.loads(found)
        return loaded


def _key(context: dg.OutputContext) -> str:
    return "/".join(context.get_identifier()) + ".json"
