"""Pictures of a store beside a reference: maps, and series at a place.

In: an opened store, a reference with something in common, which variables. Out: pictures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.spec.errors import ReformatError
from reformatters_dagster.pictures import draw_beside, draw_panel, labels_in_words, panel_of
from reformatters_dagster.pictures.fields import labels_of
from reformatters_dagster.pictures.scales import difference_scale, scale_of
from reformatters_dagster.report.newest import SHOWN_LEAD, places_of
from reformatters_dagster.report.parts import Gallery, Picture, in_words
from reformatters_dagster.report.reference import Beside, Positions

MOST_SHOWN = 3
"""Variables with maps and series, those that differ most."""
MOST_LABELS = 240
"""Labels of the append dimension in a series of an analysis."""
MAP_WIDTH, SERIES_WIDTH = 480, 800


def beside_maps(opened: OpenedStore, beside: Beside, names: Sequence[str]) -> list[Gallery]:
    """For each variable a map of the store, of the reference and of what lies between, at the newest common label."""
    return [_maps(opened, beside, name) for name in names[:MOST_SHOWN]]


def _maps(opened: OpenedStore, beside: Beside, name: str) -> Gallery:
    gallery = Gallery(name)
    window = _map_window(opened, beside, name)
    try:
        ours = _field(opened, beside, name, window)
        theirs = ours.copy(data=_oriented(beside.of_reference(name, window), ours))
        apart = ours.copy(data=ours.to_numpy() - theirs.to_numpy())
    except (ReformatError, ValueError) as error:
        gallery.notes.append(f"{name} could not be drawn beside the reference: {in_words(error)}")
        return gallery
    words = labels_in_words(labels_of(ours))
    scale = difference_scale(scale_of(name, str(ours.attrs.get("units", "")), ours.to_numpy()), apart.to_numpy())
    for field, title in ((ours, "store"), (theirs, "reference"), (apart, "store minus reference")):
        panel = panel_of(field, title=f"{title}: {words}")
        panel = replace(panel, scale=scale) if field is apart else panel
        gallery.pictures.append(Picture(draw_panel(panel, width_px=MAP_WIDTH), f"{name}, {title}, {words}"))
    return gallery


def _map_window(opened: OpenedStore, beside: Beside, name: str) -> dict[str, Positions]:
    """Positions within what both have: the last label, a lead time of about a day, the first member, the whole grid."""
    window = {}
    for dim in map(str, opened.ds[name].dims):
        every = np.arange(len(beside.ours[dim]))
        if dim == opened.append_dim:
            every = every[-1:]
        elif dim == "lead_time":
            leads = pd.TimedeltaIndex(opened.ds.indexes[dim][beside.ours[dim]])
            every = every[[max(int(leads.searchsorted(SHOWN_LEAD, side="right")) - 1, 0)]]
        elif dim == "ensemble_member":
            every = every[:1]
        window[dim] = every
    return window


def _field(opened: OpenedStore, beside: Beside, name: str, window: Mapping[str, Positions]) -> xr.DataArray:
    at = {dim: beside.ours[dim][which] for dim, which in window.items()}
    plane = [dim for dim, which in at.items() if len(which) > 1]
    return opened.load(opened.ds[name].isel(at)).squeeze([dim for dim in at if dim not in plane])


def _oriented(reference: xr.DataArray, ours: xr.DataArray) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    rest = [dim for dim in reference.dims if dim not in ours.dims]
    return np.asarray(reference.squeeze(rest).transpose(*ours.dims), np.float32)


def beside_series(opened: OpenedStore, beside: Beside, names: Sequence[str]) -> Gallery:
    """A row for each of a few variables at one place: the store and the reference over lead time, or over the last labels."""
    gallery = Gallery("Series")
    place, where = _common_place(opened, beside)
    rows, times = {}, pd.DatetimeIndex([])
    for name in names[:MOST_SHOWN]:
        window = _map_window(opened, beside, name)
        along = "lead_time" if "lead_time" in window else opened.append_dim
        window[along] = np.arange(len(beside.ours[along]))[-MOST_LABELS:]
        window |= where
        try:
            ours = opened.load(opened.ds[name].isel({dim: beside.ours[dim][which] for dim, which in window.items()}))
            theirs = beside.of_reference(name, window)
        except ReformatError as error:
            gallery.notes.append(f"{name} has no series beside the reference: {in_words(error)}")
            continue
        labels = ours.indexes[along]
        start = ours.indexes[opened.append_dim][0]
        times = pd.DatetimeIndex(labels if along == opened.append_dim else start + labels)
        rows[name] = (np.asarray(ours).ravel(), np.asarray(theirs).ravel(), str(ours.attrs.get("units", "")))
    if rows:
        png = draw_beside(times, rows, f"{place}: store and reference", width_px=SERIES_WIDTH)
        gallery.pictures.append(Picture(png, f"{', '.join(rows)} of store and reference at {place}"))
    return gallery


def _common_place(opened: OpenedStore, beside: Beside) -> tuple[str, dict[str, Positions]]:
    """A place that both have; the middle of what is common where no known place is."""
    for place, where in places_of(opened.ds):
        at = {dim: np.flatnonzero(beside.ours[dim] == position) for dim, position in where.items()}
        if all(len(found) for found in at.values()):
            return place, at
    dims = places_of(opened.ds)[0][1]
    return "the middle of what is common", {dim: np.array([len(beside.ours[dim]) // 2]) for dim in dims}
