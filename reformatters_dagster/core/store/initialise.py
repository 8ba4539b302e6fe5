"""A store's metadata before its data: created, or extended for chunks that are yet to be written.

In: a template and the end to be covered. Out: metadata that covers `[start, end)`, or a refusal.
"""

import logging

from reformatters_dagster.core.spec.errors import StoreExists, TimeNotOnGrid
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.template_files import metadata_objects
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.store.metadata import put_metadata, put_template
from reformatters_dagster.core.store.reading import published_labels
from reformatters_dagster.core.store.replica_guards import refuse_lost_primary
from reformatters_dagster.core.store.settings import Workspace
from reformatters_dagster.core.store.template_guards import check_store

log = logging.getLogger(__name__)


def create_store(template: TemplateConfig, workspace: Workspace, end: Timestamp) -> None:
    """Create a store whose metadata covers `[start, end)`; its data is written later.

    Several runs may do this at once: one creates the store, the others find it. `refuse_lost_primary` says when none does.
    """
    refuse_lost_primary(template, workspace)
    try:
        put_metadata(metadata_objects(template.get_template(end)), workspace.stores, expected_root="absent")
    except StoreExists:
        log.info("store=%s was created by another run", workspace.stores.primary.url)


def initialise_store(template: TemplateConfig, workspace: Workspace, end: Timestamp, now: Timestamp) -> int:
    """Create a store's metadata, or extend it to `[start, end)`; return the number of labels it covers.

    Raises
    ------
    Retraction
        When the store covers more already.
    TemplateDrift
        When the store is not the template's.
    TimeNotOnGrid
        When no label lies before `end`; or when `end` lies more than a shard after `now`, and past what the store covers:
        metadata never becomes shorter again.
    """
    refuse_early_end(template, end)
    check_store(template, workspace)
    published = published_labels(workspace.stores.primary, template.append_dim.name)
    if end > now + template.shard_duration and not (
        len(published) and end <= published[-1] + template.append_dim.frequency
    ):
        raise TimeNotOnGrid(
            f"a store of {template.dataset_id} with labels before {end:%Y-%m-%dT%H:%M} was asked for; it is "
            f"{now:%Y-%m-%dT%H:%M} now, and metadata that readers see is never cut short: give an end of at most "
            f"{now + template.shard_duration:%Y-%m-%dT%H:%M}, one shard ahead"
        )
    template_ds = template.get_template(end)
    put_template(template_ds, workspace)
    return int(template_ds.sizes[template.append_dim.name])


def refuse_early_end(template: TemplateConfig, end: Timestamp) -> None:
    """Raise `TimeNotOnGrid` where no label lies before `end`."""
    if end <= template.append_dim.start:
        raise TimeNotOnGrid(
            f"a store of {template.dataset_id} with labels before {end:%Y-%m-%dT%H:%M} was asked for; its archive starts at "
            f"{template.append_dim.start:%Y-%m-%dT%H:%M}: give a later end, or set REFORMATTERS_START earlier"
        )
