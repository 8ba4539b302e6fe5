"""What must hold before a store is written, each as a named refusal.

In: root `zarr.json` documents with consolidated metadata, as `json.loads` gives them. Out: nothing, or a `Refused`.
"""

from collections.abc import Sequence

from reformatters_dagster.core.spec.errors import (
    Retraction,
    TemplateDrift,
    VariableNotPublished,
)
from reformatters_dagster.core.spec.values import JSON, Label, Timestamp
from reformatters_dagster.core.spec.zarr_documents import arrays_of, length_along, structure_differences


def refuse_structure_drift(template_root: JSON, store_root: JSON, append_dim: str) -> None:
    """Refuse a template whose arrays do not fit the chunks in the store: these could not be read, or written beside.

    Attributes may differ, and sizes along `append_dim`; and the template may have arrays that the store does not have yet.

    Raises
    ------
    TemplateDrift
        Names every array that the template lacks, and every difference in dimensions, sizes, dtype, chunks, codecs and
        fill values.
    """
    template, store = arrays_of(template_root), arrays_of(store_root)
    drifts = [f"{name} is in the store and not in the template" for name in store if name not in template]
    for name in store.keys() & template.keys():
        drifts.extend(f"{name}: {drift}" for drift in structure_differences(template[name], store[name], append_dim))
    if drifts:
        raise TemplateDrift(
            f"the template was to describe the store as it stands; found {'; '.join(sorted(drifts))}: restore the "
            "template, or raise the dataset version to start a new store"
        )


def refuse_unpublished_variables(dataset_id: str, variables: Sequence[str], store_root: JSON) -> None:
    """Refuse to write chunks of variables for which the store has no array yet: readers would not see them.

    Raises
    ------
    VariableNotPublished
        Names them, and the command that adds them and writes their history.
    """
    if absent := sorted(set(variables) - arrays_of(store_root).keys()):
        raise VariableNotPublished(
            f"data of {dataset_id} was to be written within what is published; the store has no {', '.join(absent)} yet: "
            f"`reformat backfill {dataset_id} --overwrite-chunks --overwrite-metadata --variables {','.join(absent)}` adds "
            "them with their history; or choose other variables"
        )


def refuse_other_labels(dim: str, template_labels: Sequence[Label], store_labels: Sequence[Label]) -> None:
    """Refuse a template that gives other labels to a dimension that does not grow."""
    if len(template_labels) != len(store_labels):
        raise TemplateDrift(
            f"{dim} has {len(template_labels)} labels in the template and {len(store_labels)} in the store: "
            "restore the template, or raise the dataset version to start a new store"
        )
    for position, (wanted, found) in enumerate(zip(template_labels, store_labels, strict=True)):
        if wanted != found:
            raise TemplateDrift(
                f"{dim} has label {wanted!r} at position {position} in the template; the store has {found!r} there: "
                "restore the template, or raise the dataset version to start a new store"
            )


def refuse_retraction(template_root: JSON, store_root: JSON, append_dim: str) -> None:
    """Refuse metadata that is shorter along `append_dim` than what readers already see.

    Raises
    ------
    Retraction
        Names the array and both lengths.
    """
    template = arrays_of(template_root)
    for name, stored in arrays_of(store_root).items():
        wanted, found = length_along(template.get(name, stored), append_dim), length_along(stored, append_dim)
        if wanted is not None and found is not None and wanted < found:
            raise Retraction(
                f"{name} was to be published with {wanted} labels of {append_dim}; the store publishes {found}: "
                "published data is never withdrawn; run again once the upstream serves what it served before"
            )


def refuse_version_mismatch(template_attrs: JSON, dataset_id: str, version: str) -> None:
    """Refuse metadata of another dataset, or of another version of this one."""
    found = template_attrs.get("dataset_id"), template_attrs.get("dataset_version")
    if found != (dataset_id, version):
        raise TemplateDrift(
            f"metadata of {dataset_id!r} version {version!r} was asked for; found {found[0]!r} version {found[1]!r}: "
            f"run 'reformat update-template {dataset_id}', or point the store at the right dataset"
        )


def refuse_other_start(template_start: Timestamp, store_start: Timestamp) -> None:
    """Refuse a store whose append dimension starts at another label: every shard would replace another one."""
    if template_start != store_start:
        raise TemplateDrift(
            f"the archive was to start at {template_start:%Y-%m-%dT%H:%M}; the store starts at "
            f"{store_start:%Y-%m-%dT%H:%M}: set REFORMATTERS_START to that or leave it out, or use another "
            "store; `reformat begin-anew` deletes one that holds no data"
        )
