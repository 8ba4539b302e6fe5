"""What must hold between replicas and their primary, each as a named refusal.

In: a template and the places of a deployment. Out: nothing, or a `Refused`.
"""

from reformatters_dagster.core.spec.errors import StoreMissing, StoreTooShort, TemplateDrift
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import JSON, Timestamp
from reformatters_dagster.core.spec.zarr_documents import (
    append_dim_of,
    arrays_of,
    chunks_prefix,
    length_along,
    read_root_at,
)
from reformatters_dagster.core.store.guards import refuse_other_start, refuse_structure_drift
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.reading import first_label, read_root
from reformatters_dagster.core.store.settings import Workspace


def refuse_lost_primary(template: TemplateConfig, workspace: Workspace) -> None:
    """Refuse to create a primary that was lost while a replica has its data: the run would write over that data.

    A first publication that ended between the two roots leaves a replica with the same data objects as the primary: it may go
    on. A replica of another archive is no copy of this one, see `refuse_other_archive`.

    Raises
    ------
    StoreMissing
        Naming the replica.
    StoreUnavailable
        When a replica cannot be asked.
    """
    primary = workspace.stores.primary
    for replica in workspace.stores.replicas:
        if read_root(replica) is None:
            continue
        try:
            refuse_other_archive(read_root_at(template.path), template.append_dim.start, replica)
        except TemplateDrift:
            continue
        held, there = (
            {key for name in template.variables for key, _ in store.list(chunks_prefix(name))}
            for store in (replica, primary)
        )
        # Looked at once more: another run may have created it meanwhile.
        if held - there and read_root(primary) is None:
            raise StoreMissing(
                f"{template.dataset_id} was to be created at {primary.url}; no store stands there, while its replica "
                f"{replica.url} has {len(held - there)} objects of data that would be written over: copy the replica back "
                "while nothing writes to it, the root zarr.json last; or wipe the replica to begin anew"
            )


def refuse_other_archive(root: JSON, start: Timestamp, replica: Store) -> JSON | None:
    """Refuse a replica that holds another archive: its readers would see both mixed.

    Parameters
    ----------
    root : JSON
        Root document of the template, or of the primary.
    start : Timestamp
        Its first label.

    Returns
    -------
    JSON or None
        Root document of the replica; None where no store stands there.

    Raises
    ------
    TemplateDrift
        When it has another structure, or starts at another label.
    CorruptRoot
        When nobody can read its root, or its first labels.
    """
    theirs, dim = read_root(replica), append_dim_of(root)
    if theirs is None:
        return None
    first = first_label(replica, theirs, dim)
    try:
        # It may lack arrays, or be longer after a commit that ended halfway, and is the same archive.
        refuse_structure_drift(root, theirs, dim)
        if first is not None:
            refuse_other_start(start, first)
    except TemplateDrift as error:
        raise TemplateDrift(
            f"replica {replica.url} was to be written to; another archive stands there, and readers would see both mixed: "
            f"{error}; or wipe that replica, or take it out of REFORMATTERS_REPLICAS"
        ) from error
    return theirs


def refuse_lagging_replicas(template: TemplateConfig, workspace: Workspace) -> None:
    """Refuse to write to a replica that lacks history of the primary: its readers would read NaN there.

    Only for replicas that are required; `replicas.mend_replicas` mends others.

    Raises
    ------
    StoreMissing, StoreTooShort
        When a replica has no store while the primary has one, or has fewer labels or variables.
    TemplateDrift
        When a replica holds another archive, or nobody can read its root.
    """
    stores, dim = workspace.stores, template.append_dim.name
    root = read_root(stores.primary)
    for replica in stores.replicas:
        # Compared with the template: after a commit that ended halfway the replica is ahead of its primary.
        theirs = refuse_other_archive(read_root_at(template.path), template.append_dim.start, replica)
        if root is None:
            continue
        ours, arrays = arrays_of(root), {} if theirs is None else arrays_of(theirs)
        lengths = [length_along(one[dim], dim) or 0 if dim in one else 0 for one in (arrays, ours)]
        if theirs is not None and ours.keys() <= arrays.keys() and lengths[0] >= lengths[1]:
            continue
        found = f"the store there has {len(arrays)} arrays and {lengths[0]} labels of {dim}"
        raise (StoreMissing if theirs is None else StoreTooShort)(
            f"{template.dataset_id} was to be written to its replica {replica.url} too; "
            f"{'no store stands there' if theirs is None else found}, while {stores.primary.url} has {len(ours)} arrays and "
            f"{lengths[1]} labels: let the dataset say replicas='best_effort', so that its updates copy what is lacking; or "
            "copy the primary there while nothing writes to it, the root zarr.json last; or take the replica out of "
            "REFORMATTERS_REPLICAS. 'Replicas' in docs/operations.md says how"
        )
