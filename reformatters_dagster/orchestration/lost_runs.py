"""Runs whose process is gone, found by their leases where nothing watches processes.

In: a dataset's runs that Dagster believes to be started, their leases, and what the last look saw. Out: what this look sees. A
run without a sign of life for long is failed, and Dagster's run retries start it again.

Dagster's run monitoring does the same where the launcher can check a process, as that of Kubernetes can. The default launcher of
a single machine cannot: after a power cut its runs would stay started until they exceed their longest runtime.
"""

import logging
from collections.abc import Mapping

import dagster as dg

from reformatters_dagster.core.ledger.lease import FOLDER, Sign
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.orchestration.names import DATASET_TAG, EXCLUSIVE_TAG, asset_key
from reformatters_dagster.orchestration.partitions import is_about, key_range
from reformatters_dagster.orchestration.resources import in_cluster

log = logging.getLogger(__name__)

LOST_AFTER = Timedelta("10min")
"""A run is lost when its lease has not changed for so long. A live run renews its lease four times a minute."""
LOST_WITHOUT_LEASE = Timedelta("1h")
"""A run is lost when it has held no lease for so long. A live run holds none while it plans and while it validates."""
LOOKED_WITHIN = Timedelta("5min")
"""Looks that lie further apart say nothing of what a run did between them: the store was out, or nobody looked."""


def end_lost_runs(
    instance: dg.DagsterInstance, dataset: DynamicalDataset, internal: Store, seen: Mapping[str, Sign], now: Timestamp
) -> dict[str, Sign]:
    """Fail the runs of a dataset that are lost, and return what the leases of the others say.

    All times are those of this process. They are never compared with the clock of a run's machine.

    Parameters
    ----------
    internal : Store
        The dataset's internal location.
    seen : mapping
        What the last look returned, by run id; empty if that was forgotten.
    """
    if in_cluster() or instance.run_launcher.supports_check_run_worker_health:
        return {}
    signs: dict[str, Sign] = {}
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        if not _writes(run, dataset):
            continue
        lease = _lease_of(run, internal)
        sign = Sign.at_look(lease, seen.get(run.run_id), now, LOOKED_WITHIN)
        if now - sign.since < (LOST_AFTER if lease else LOST_WITHOUT_LEASE):
            signs[run.run_id] = sign
            continue
        shows = "its lease has not changed" if lease else "it has held no lease"
        message = f"the run's process is lost: {shows} since {sign.since:%Y-%m-%dT%H:%M}"
        log.warning("run=%s %s", run.run_id, message)
        instance.report_run_failed(run, message)
    return signs


def _writes(run: dg.DagsterRun, dataset: DynamicalDataset) -> bool:
    """Whether a run writes this dataset, and no other. Runs from the asset's page have none of our tags."""
    is_own = run.tags.get(DATASET_TAG) == dataset.dataset_id or run.asset_selection == {asset_key(dataset)}
    return is_own and (key_range(run) is not None or EXCLUSIVE_TAG in run.tags)


def _lease_of(run: dg.DagsterRun, internal: Store) -> str:
    """What the lease says that a run holds; empty where it holds none. Of a range it holds one at a time."""
    for key, _ in internal.list(FOLDER):
        if is_about(run, key.rpartition("/")[2].removesuffix(".json")):
            found = internal.get_or_none(key)
            document = "" if found is None else found[0].decode(errors="replace")
            if run.run_id in document:  # as holder, or as the attempt of a retry
                return document
    return ""
