"""Which shard objects of a region the final store holds already.

In: a job. Out: their keys, and their bytes to be continued.
"""

from typing import Any

from reformatters_dagster.core.job.hooks import RegionHooks
from reformatters_dagster.core.job.positions import shard_of
from reformatters_dagster.core.spec.errors import CorruptShard
from reformatters_dagster.core.spec.variables import DataVar
from reformatters_dagster.core.spec.zarr_documents import keys_of_shard, shard_prefix


def all_shards_stand(job: RegionHooks[Any], data_var: DataVar) -> bool:
    """Whether the final store holds every shard object of the region."""
    shape, shards = job.template_ds[data_var.name].shape, list(job.context.template_config.shards.values())
    return stored_keys(job, data_var) >= keys_of_shard(data_var.name, shard_of(job), shape, shards)


def stored_keys(job: RegionHooks[Any], data_var: DataVar) -> set[str]:
    """Keys of the region's shard objects that the final store holds."""
    return {key for key, _ in job.context.stores.primary.list(shard_prefix(data_var.name, shard_of(job)))}


def published_object(job: RegionHooks[Any], key: str) -> memoryview:
    """A shard object of the final store, to be continued."""
    primary = job.context.stores.primary
    found = primary.get_buffer(key)
    if found is None:
        raise CorruptShard(f"{primary.url}/{key} was to be continued; it is gone: backfill this partition anew")
    return found
