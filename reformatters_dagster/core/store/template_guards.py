"""What must hold between a template and the store that stands, each as a named refusal.

In: a template and the places of a deployment. Out: nothing, or a `Refused`.
"""

from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import Names
from reformatters_dagster.core.spec.zarr_documents import read_root_at
from reformatters_dagster.core.store.guards import (
    refuse_other_labels,
    refuse_other_start,
    refuse_structure_drift,
    refuse_unpublished_variables,
    refuse_version_mismatch,
)
from reformatters_dagster.core.store.reading import published_indexes, published_labels, read_root
from reformatters_dagster.core.store.replica_guards import refuse_lost_primary
from reformatters_dagster.core.store.settings import Workspace


def check_store(template: TemplateConfig, workspace: Workspace) -> None:
    """Refuse a store that the template does not describe. A store that does not exist yet passes, unless it was lost.

    Raises
    ------
    TemplateDrift
        Naming what differs: dataset, version, start of the archive, structure, labels of the other dimensions.
    StoreMissing
        When the primary was lost, see `refuse_lost_primary`.
    """
    store_root = read_root(workspace.stores.primary)
    if store_root is None:
        refuse_lost_primary(template, workspace)
        return
    refuse_version_mismatch(store_root["attributes"], template.dataset_id, template.dataset_version)
    refuse_other_start(
        template.append_dim.start, published_labels(workspace.stores.primary, template.append_dim.name)[0]
    )
    template.get_template(template.append_dim.start)  # refuses a committed template that is not the code's
    refuse_structure_drift(read_root_at(template.path), store_root, template.append_dim.name)
    published = published_indexes(workspace.stores.primary, [dim.name for dim in template.all_dims])
    for dim in template.all_dims:
        refuse_other_labels(dim.name, list(dim.index()), list(published[dim.name]))


def refuse_unpublished(template: TemplateConfig, workspace: Workspace, variables: Names | None) -> None:
    """Refuse to write variables (default: all) for which the store that stands has no array."""
    store_root = read_root(workspace.stores.primary)
    if store_root is not None:
        names = [data_var.name for data_var in template.select(variables)]
        refuse_unpublished_variables(template.dataset_id, names, store_root)
