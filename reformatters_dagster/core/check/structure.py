"""Whether the store says truly where its values lie: checks of labels, coordinates and array metadata.

In: a published store. Out: one CheckResult per validator. No check reads a data chunk.
"""

import json
from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.check.validators import CheckResult, Validator
from reformatters_dagster.core.check.wording import listed, text_of
from reformatters_dagster.core.spec.values import JSON, Timestamp
from reformatters_dagster.core.spec.zarr_documents import ROOT_KEY, arrays_of, chunks_prefix, document_key, length_along

SAME_PLACE = 1e-6
"""Relative difference allowed in a coordinate: less than a metre on the globe, more than another PROJ changes the last bits."""


class CheckAppendCoordinate(Validator):
    """Labels of the append dimension are those of its grid: they ascend from the archive's start, none twice, none left out."""

    name: str = "append_coordinate"

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:  # noqa: ARG002
        axis, labels = opened.append_axis, opened.labels
        wanted = axis.labels(axis.start + axis.frequency * labels.size)
        (wrong,) = np.nonzero(labels.to_numpy() != wanted.to_numpy())
        metadata: dict[str, float | int | str] = {"labels": labels.size, "labels_wrong": wrong.size}
        if not wrong.size:
            message = f"{labels.size} labels of {axis.name} are those of the grid"
            return CheckResult(name=self.name, passed=True, message=message, metadata=metadata)
        first = int(wrong[0])
        # With another first label a backfill takes the store for one that starts elsewhere, and refuses to repair it.
        advice = _REWRITE.format(opened.dataset_id) if first else f"put back {axis.name}/c from a replica or a backup"
        message = (
            f"{wrong.size} of {labels.size} labels of {axis.name} are not those of its grid: at position {first} stands "
            f"{text_of(labels[first])}, {text_of(wanted[first])} belongs there; {advice}"
        )
        return CheckResult(name=self.name, passed=False, message=message, metadata=metadata)


class CheckCoordinates(Validator):
    """Coordinates have the template's values, but for the append dimension's own and those that runs write."""

    name: str = "coordinates"

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:  # noqa: ARG002
        axis = opened.append_axis
        template = opened.coordinates(axis.start + axis.frequency * opened.labels.size)
        wanted = {str(name): coord for name, coord in template.coords.items() if name != axis.name}
        found = {str(name): coord for name, coord in opened.ds.coords.items() if name != axis.name}
        wrong = [f"{name} is not in the store" for name in sorted(wanted.keys() - found.keys())]
        wrong += [f"{name} is not in the template" for name in sorted(found.keys() - wanted.keys())]
        moved: list[str] = []
        for name in sorted(wanted.keys() & found.keys()):
            if (difference := _difference(wanted[name].variable, found[name].variable)) is not None:
                wrong.append(f"{name} {difference}")
                moved += [chunks_prefix(name)] if name in template.dims else []
        metadata: dict[str, float | int | str] = {"coordinates": len(wanted), "coordinates_wrong": len(wrong)}
        if not wrong:
            message = f"{len(wanted)} coordinates are those of the template"
            return CheckResult(name=self.name, passed=True, message=message, metadata=metadata)
        advice = _REWRITE.format(opened.dataset_id)
        if moved:  # a backfill takes the store for one of another structure, and refuses to repair it
            advice = f"put back {listed(moved)} from templates/{opened.dataset_id}/latest.zarr or a replica"
        message = f"not as the template has it: {listed(wrong, '; ')}; {advice}"
        return CheckResult(name=self.name, passed=False, message=message, metadata=metadata)


class CheckConsolidatedMetadata(Validator):
    """Each array's own `zarr.json` agrees with the root `zarr.json`, so that all readers see the same store.

    An array's own document may be longer along the append dimension: its newest labels are not published yet.
    """

    name: str = "consolidated_metadata"

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:  # noqa: ARG002
        root = _document(opened, ROOT_KEY)
        documents: dict[str, JSON] = {} if root is None else arrays_of(root)
        wrong = [
            f"{name} {difference}"
            for name, document in sorted(documents.items())
            if (difference := _other_document(document, _document(opened, document_key(name)), opened.append_dim))
        ]
        metadata: dict[str, float | int | str] = {"arrays": len(documents), "arrays_wrong": len(wrong)}
        if documents and not wrong:
            message = f"the documents of {len(documents)} arrays say what the root says of them"
            return CheckResult(name=self.name, passed=True, message=message, metadata=metadata)
        told = listed(wrong, "; ") if documents else "the root zarr.json lists no array"
        message = (
            f"root and arrays disagree: {told}; the root is what most readers go by: if it is right, "
            f"{_REWRITE.format(opened.dataset_id)}; a replica can be given the primary's objects"
        )
        return CheckResult(name=self.name, passed=False, message=message, metadata=metadata)


class CheckAttributes(Validator):
    """Variables have the attributes that their rows give them: units, names, what is said of time windows.

    Every update writes them anew, so others were put there by something else. A failure is a WARN.
    """

    name: str = "attributes"

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:  # noqa: ARG002
        wrong = [
            f"{data_var.name!r} has {key} {_brief(opened.ds[data_var.name].attrs.get(key))}, {_brief(value)} belongs there"
            for data_var in opened.data_vars
            if data_var.name in opened.ds
            for key, value in data_var.attrs.items()
            if opened.ds[data_var.name].attrs.get(key) != value
        ]
        metadata: dict[str, float | int | str] = {"attributes_wrong": len(wrong)}
        if not wrong:
            message = "variables have the attributes of their rows"
            return CheckResult(name=self.name, passed=True, message=message, metadata=metadata)
        message = f"not as the template has it: {listed(wrong, '; ')}; {_REWRITE.format(opened.dataset_id)}"
        return CheckResult(name=self.name, passed=False, severity="WARN", message=message, metadata=metadata)


_REWRITE = "`reformat backfill {} --overwrite-metadata` writes metadata and coordinates anew"


def _difference(wanted: xr.Variable, found: xr.Variable) -> str | None:
    """How two coordinates differ. A coordinate that runs write may have any value, and so may a grid mapping's number."""
    if (wanted.dims, wanted.shape) != (found.dims, found.shape):
        return f"has dimensions {dict(found.sizes)!r}, {dict(wanted.sizes)!r} belong there"
    values, stored = wanted.to_numpy(), found.to_numpy()
    if values.dtype.kind != stored.dtype.kind:
        return f"is of dtype {stored.dtype}, {values.dtype} belongs there"
    if not values.ndim or (values.dtype.kind in "Mm" and values.size and np.isnat(values).all()):
        return None
    # NaT does not equal NaT.
    same = np.isclose(stored, values, SAME_PLACE, SAME_PLACE) if values.dtype.kind == "f" else stored == values
    if same.all():
        return None
    at = tuple(int(one) for one in np.argwhere(~same)[0])
    wrong = f"as in {int((~same).sum())} of {same.size} places"
    return f"is {_text(stored[at])} at {list(at)}, {_text(values[at])} belongs there, {wrong}"


def _text(value: np.generic) -> str:
    return str(pd.Timedelta(value)) if isinstance(value, np.timedelta64) else str(value)


def _document(opened: OpenedStore, key: str) -> JSON | None:
    data = opened.read_object(key)
    if data is None:
        return None
    try:
        document: JSON = json.loads(data)
    except ValueError:
        return {}
    return document


def _other_document(wanted: JSON, found: JSON | None, append_dim: str) -> str | None:
    """How an array's own document differs from the root's."""
    if found is None:
        return "has no document of its own"
    if not found:
        return "has a document of its own that is no JSON"
    fields = list(_differing(wanted, _cut(found, append_dim, length_along(wanted, append_dim))))
    return f"differs in {', '.join(fields)}" if fields else None


def _cut(array: JSON, dim: str, most: int | None) -> JSON:
    """The document of an array, cut to at most so many labels of a dimension."""
    dims, shape = array.get("dimension_names") or [], array.get("shape")
    if most is None or dim not in dims or not isinstance(shape, list) or len(shape) != len(dims):
        return array
    return {
        **array,
        "shape": [min(size, most) if name == dim else size for name, size in zip(dims, shape, strict=True)],
    }


def _differing(wanted: JSON, found: JSON) -> Iterator[str]:
    for field in sorted(wanted.keys() | found.keys()):
        ours, theirs = found.get(field), wanted.get(field)
        if ours == theirs:
            continue
        if isinstance(ours, dict) and isinstance(theirs, dict) and field == "attributes":
            names = [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
            yield from (
                f"attribute {name} ({_brief(ours.get(name))}, root: {_brief(theirs.get(name))})" for name in names
            )
        else:
            yield f"{field} ({_brief(ours)}, root: {_brief(theirs)})"


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
