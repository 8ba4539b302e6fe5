"""A store without data, deleted so that a backfill can create it anew, as with another start of its archive.

In: a dataset and its stores. Out: what is deleted; or a refusal where anything was ever written into the store.
"""

import logging
from contextlib import ExitStack
from typing import NamedTuple

from reformatters_dagster.core.ledger.entries import ledger_partitions
from reformatters_dagster.core.ledger.lease import FOLDER as LEASES
from reformatters_dagster.core.ledger.lease import hold_lease, leased_partitions
from reformatters_dagster.core.run.declaration import Declaration
from reformatters_dagster.core.spec.errors import StoreExists, StoreMissing
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.zarr_documents import ROOT_KEY, chunks_prefix, document_key
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.stores import StoreSet

log = logging.getLogger(__name__)


class Emptied(NamedTuple):
    """The objects of one location that are deleted."""

    store: Store
    keys: list[str]
    """In the order of their deletion."""
    bytes: int


def empty_stores(template: TemplateConfig, stores: StoreSet) -> list[Emptied]:
    """What stands at the places of a store that holds no data: replicas, the primary, and what the platform keeps about them.

    Raises
    ------
    StoreExists
        When the ledger has an entry, or a location holds an object that is neither metadata nor part of a coordinate.
    StoreMissing
        When no location holds an object.
    StoreUnavailable
        When a location cannot be listed.
    """
    asked = f"{template.dataset_id} was to be begun anew at {stores.primary.url}"
    if known := ledger_partitions(stores.internal):
        raise StoreExists(
            f"{asked}; the ledger says that {len(known)} partitions of it are written, {known[0]} to {known[-1]}, and only a "
            "store without data is deleted: raise the dataset version, or give another --store"
        )
    axis = template.append_dim
    coordinates = set(map(str, template.coordinates(axis.start + axis.frequency).coords))
    found = [_emptied(store, coordinates, asked) for store in (*stores.replicas, stores.primary)]
    leases = f"{LEASES}/"
    notes = [(key, size) for key, size in stores.internal.list() if not key.startswith(leases)]
    found.append(Emptied(stores.internal, [key for key, _ in notes], sum(size for _, size in notes)))
    if not any(one.keys for one in found):
        creates = f"`reformat backfill {template.dataset_id} --archive-start T` creates it"
        raise StoreMissing(f"{asked}; nothing stands there: {creates}")
    return found


def _emptied(store: Store, coordinates: set[str], asked: str) -> Emptied:
    objects = store.list()
    if data := [key for key, _ in objects if not _is_metadata(key, coordinates)]:
        raise StoreExists(
            f"{asked}; {store.url} holds {len(data)} objects of data, such as {data[0]}, and only a store without data is "
            "deleted: raise the dataset version, or give another --store"
        )
    # Without its root nobody opens the rest.
    keys = sorted((key for key, _ in objects), key=lambda key: (key != ROOT_KEY, key))
    return Emptied(store, keys, sum(size for _, size in objects))


def _is_metadata(key: str, coordinates: set[str]) -> bool:
    name = key.partition("/")[0]
    prefix = chunks_prefix(name)
    return key in {ROOT_KEY, document_key(name)} or (
        name in coordinates and (key == prefix or key.startswith(f"{prefix}/"))
    )


def begin_anew(dataset: Declaration, stores: StoreSet, holder: str) -> list[Emptied]:
    """Delete a store that holds no data, and return what was deleted. A call that ended early is repeated.

    Each partition that has a lease is held meanwhile: a run that lives refuses the call, and one that has died does not.

    Parameters
    ----------
    holder : str
        Who holds the leases, unlike any run.

    Raises
    ------
    StoreExists, StoreMissing, StoreUnavailable
        As `empty_stores`.
    LeaseHeld
        When a run is writing.
    """
    empty_stores(dataset.template_config, stores)  # nobody waits for a lease in vain
    with ExitStack() as held:
        for partition in sorted(leased_partitions(stores.internal)):
            held.enter_context(hold_lease(stores.internal, partition, holder, terms=dataset.lease_terms))
        found = empty_stores(dataset.template_config, stores)
        for store, keys, _ in found:
            for key in keys:
                store.delete(key)
            log.info("store=%s deleted objects=%d", store.url, len(keys))
    return found
