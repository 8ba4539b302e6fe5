"""What an archive's length costs: the same few operations on stores and ledgers of 100, 1,000 and 10,000 partitions.

In: a folder. Out: CPU milliseconds of each operation at each length. Stores hold metadata alone; nothing is downloaded.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import dagster as dg
import pandas as pd

from dataset_defs.noaa.gfs.archives import GFS_ARCHIVES
from dataset_defs.noaa.gfs.forecast import DATASET
from reformatters_dagster.core.ledger.entries import LedgerEntry, VariableCoverage, write_ledger
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.plan import PartitionRequest, plan_partition
from reformatters_dagster.core.run.status import status
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.store.metadata import put_template
from reformatters_dagster.core.store.settings import Settings, Workspace
from reformatters_dagster.orchestration.build import build_definitions
from reformatters_dagster.orchestration.resources import Reformatters, utc_now

LENGTHS = (100, 1_000, 10_000)
REPEATS = 5
LEADS_PER_INIT = 209

type Operation = Callable[[], object]


@dataclass(frozen=True)
class Archive:
    """A store of so many partitions, every one of them in the ledger."""

    dataset: DynamicalDataset
    settings: Settings
    workspace: Workspace
    newest: Timestamp

    @classmethod
    def create(cls, folder: Path, partitions: int) -> "Archive":
        """Metadata up to the newest cycle, and a ledger entry, of the size a real one has, for each partition."""
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "upstream" / GFS_ARCHIVES[0].folder).mkdir(parents=True)
        newest = utc_now().floor("6h").as_unit("us")
        first = newest - (partitions - 1) * DATASET.template_config.append_dim.frequency
        dataset = replace(DATASET, template_config=DATASET.template_config.started_at(first))
        settings = Settings(store=str(folder / "stores"), upstream=str(folder / "upstream"), tmp=str(folder / "tmp"))
        workspace = dataset.workspace(settings)
        dataset.initialise(workspace, None, newest)
        archive = cls(dataset, settings, workspace, newest)
        archive._fill_ledger(first, partitions)
        return archive

    def _fill_ledger(self, first: Timestamp, partitions: int) -> None:
        template = self.dataset.template_config
        whole = VariableCoverage(expected=LEADS_PER_INIT, succeeded=LEADS_PER_INIT)
        entry = LedgerEntry(
            partition=partition_key(self.newest),
            dataset_id=template.dataset_id,
            version=template.dataset_version,
            region=(self.newest, self.newest),
            variables=dict.fromkeys(template.variables, whole),
            etags={
                f"gfs.20260729/18/atmos/gfs.t18z.pgrb2.0p25.f{lead:03d}": "0" * 34 for lead in range(LEADS_PER_INIT)
            },
            extent=(first, self.newest),
            template_hash="0" * 16,
            code_version="0",
            run_id="0" * 32,
            written_at=self.newest - pd.Timedelta("1D"),
        )
        write_ledger(self.workspace.stores.internal, entry)
        ledger = Path(self.workspace.stores.internal.url) / "ledger"
        written = ledger / f"{partition_key(self.newest)}.json"
        for label in pd.date_range(first, periods=partitions - 1, freq=template.append_dim.frequency):
            os.link(written, ledger / f"{partition_key(label)}.json")

    def operations(self, instance: dg.DagsterInstance) -> dict[str, Operation]:
        """What is done again and again in a deployment's life."""
        dataset, workspace, now = self.dataset, self.workspace, utc_now()
        template_ds = dataset.template_config.get_template(now)
        definitions = build_definitions([DATASET], self._started)
        within, beyond = (PartitionRequest(label=self.newest, publish=publish) for publish in (False, True))
        return {
            "load the definitions": lambda: build_definitions([DATASET], self._started).get_repository_def(),
            "plan a backfill": lambda: plan_partition(dataset, workspace, within, now),
            "plan an update": lambda: plan_partition(dataset, workspace, beyond, now),
            "tick of the upstream sensor": lambda: self._tick(definitions, instance, "upstream"),
            "tick of the heal sensor": lambda: self._tick(definitions, instance, "heal"),
            "status": lambda: status(dataset, workspace.stores),
            "commit of the metadata": lambda: put_template(template_ds, workspace),
        }

    @property
    def _started(self) -> Settings:
        return self.settings.model_copy(update={"start": self.dataset.template_config.append_dim.start})

    def _tick(self, definitions: dg.Definitions, instance: dg.DagsterInstance, kind: str) -> None:
        sensor = definitions.resolve_sensor_def(self.dataset.job_name(kind))
        resources = {"reformatters": Reformatters.from_settings(self._started)}
        with dg.build_sensor_context(instance, definitions=definitions, resources=resources) as context:
            sensor.evaluate_tick(context)


@contextmanager
def archive_of(folder: Path, partitions: int) -> Iterator[Archive]:
    try:
        yield Archive.create(folder, partitions)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(folder: Path, say: Callable[[str], None]) -> dict[str, list[float]]:
    """CPU milliseconds (median of five) of each operation, one number for each of `LENGTHS`."""
    found: dict[str, list[float]] = {}
    with dg.DagsterInstance.ephemeral() as instance:
        for partitions in LENGTHS:
            say(f"{partitions} partitions")
            with archive_of(folder / "scale", partitions) as archive:
                for name, operation in archive.operations(instance).items():
                    found.setdefault(name, []).append(_cpu_milliseconds(operation))
    return found


def _cpu_milliseconds(operation: Operation) -> float:
    operation()
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        operation()
        times.append(1000 * (time.process_time() - started))
    return median(times)
