"""Which stores a run writes to: all of them, or those that remain without a replica that lags.

In: a dataset and its stores. Out: stores to write to, or a refusal where a required replica lacks something. A replica
that is left out of a partition is marked: see `replicas`.
"""

import logging
from dataclasses import replace

from reformatters_dagster.core.run.declaration import Declaration
from reformatters_dagster.core.run.guards import refuse_lost_store
from reformatters_dagster.core.run.replicas import Degraded, degraded, mark
from reformatters_dagster.core.spec.errors import StoreUnavailable, TemplateDrift
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.zarr_documents import read_root_at
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.replica_guards import refuse_lagging_replicas, refuse_other_archive
from reformatters_dagster.core.store.settings import Workspace
from reformatters_dagster.core.store.stores import StoreSet
from reformatters_dagster.core.store.template_guards import check_store

log = logging.getLogger(__name__)


def check_stores(dataset: Declaration, workspace: Workspace) -> None:
    """Refuse a store that the template does not describe, and a required replica that lacks what the primary has.

    Raises
    ------
    TemplateDrift, StoreMissing, StoreTooShort
        See `check_store`, `refuse_lost_store` and `refuse_lagging_replicas`.
    """
    check_store(dataset.template_config, workspace)
    refuse_lost_store(dataset.template_config, workspace.stores)
    if dataset.replicas == "required":
        refuse_lagging_replicas(dataset.template_config, workspace)


def places_for_metadata(dataset: Declaration, workspace: Workspace) -> Workspace:
    """The places to write metadata to: each replica among them has what the primary has.

    Raises
    ------
    StoreMissing, StoreTooShort
        When a required replica lacks something, or the primary was lost.
    """
    refuse_lost_store(dataset.template_config, workspace.stores)
    if dataset.replicas == "required":
        refuse_lagging_replicas(dataset.template_config, workspace)
        return workspace
    return replace(workspace, stores=_without_lagging(workspace.stores, dataset.template_config))


def stores_for_partition(dataset: Declaration, stores: StoreSet, label: Timestamp) -> StoreSet:
    """The stores to write the partition of a label to. A replica that is left out, or fails later, is marked."""
    if dataset.replicas == "required":
        return stores
    template = dataset.template_config
    shard = int((label - template.append_dim.start) // template.shard_duration)
    return _without_lagging(stores, template, partition_key(label), shard)


def _without_lagging(
    stores: StoreSet, template: TemplateConfig, partition: str | None = None, shard: int = 0
) -> StoreSet:
    """The same stores, without the replicas that lack something or hold another archive; one that fails later is left out.

    Without a partition nothing is marked: it is metadata that is written, and a replica's own metadata shows that it lags.
    """
    if not stores.replicas:
        return stores

    def leave_out(replica: Store, error: Exception) -> None:
        log.warning("%s goes on without replica %s: %s", partition or "metadata", replica.url, error)
        if partition is not None:
            mark(stores.internal, replica, partition, shard, reason=str(error))

    remaining = replace(stores, tolerate=leave_out, _left_out=set())
    lagging = {one.replica: one for one in degraded(stores)}
    for replica in stores.replicas:
        if (why := _why_leave_out(replica, template, lagging.get(replica.url))) is not None:
            remaining.leave_out(replica)
            leave_out(replica, why)
    return remaining


def _why_leave_out(replica: Store, template: TemplateConfig, lacking: Degraded | None) -> Exception | None:
    if lacking is not None:
        return StoreUnavailable(lacking.reason)
    try:
        refuse_other_archive(read_root_at(template.path), template.append_dim.start, replica)
    except (StoreUnavailable, TemplateDrift) as error:
        return error
    return None
