"""How the newest label looks: maps of a few variables, and meteograms of a few places.

In: an opened store. Out: pictures. What is read is bounded: `MOST_MAPS` fields, `MOST_PLACES` columns of chunks a variable.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import pandas as pd
import xarray as xr

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.spec.errors import ReformatError
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.pictures import draw_panel, draw_point, labels_in_words, panel_of
from reformatters_dagster.pictures.fields import labels_of
from reformatters_dagster.report.parts import Gallery, Picture, in_words, load_field

log = logging.getLogger(__name__)

MOST_MAPS = 6
MOST_MAP_BYTES = 8 * 2**30
"""Most bytes of chunks that maps decode in all, but for the first map. A chunk of an analysis holds weeks."""
MOST_PLACES = 2
MOST_HOURS = 240
"""Labels of an analysis in a meteogram."""
SHOWN_LEAD = pd.Timedelta("24h")
MAP_WIDTH, SERIES_WIDTH = 620, 800
SHOWN_FIRST = ("temperature_2m", "precipitation_surface", "pressure_reduced_to_mean_sea_level", "wind_u_10m")
"""Variables that people recognise at a glance; others follow as the template has them."""
WITH_BARBS = {"wind_u_10m", "wind_v_10m"}
PLACES = (("Berlin", 52.52, 13.41), ("Boulder", 40.01, -105.27), ("Hagåtña, Guam", 13.48, 144.75))
FARTHEST = 0.3
"""Degrees from a place to the next point of a grid that holds it; on a coarser grid half of its step."""


def maps_of(opened: OpenedStore, names: Sequence[str], label: Timestamp) -> Gallery:
    """Maps of the first few variables at one label; of a forecast about a day ahead."""
    gallery = Gallery("Maps")
    decoded = 0
    wanted = in_order(opened, names)
    if {*wanted} >= WITH_BARBS:
        wanted.remove("wind_v_10m")  # the map of the other shows both
    for name in wanted:
        array = opened.ds[name]
        labels = position_of(array, opened.append_dim, label)
        cost = 4 * prod(int(size) for size in array.encoding["chunks"]) * _chunks_of_a_map(array, labels)
        if len(gallery.pictures) == MOST_MAPS or (gallery.pictures and decoded + cost > MOST_MAP_BYTES):
            break
        decoded += cost
        try:
            gallery.pictures.append(_map(opened, array, labels))
        except (ReformatError, ValueError) as error:
            gallery.notes.append(f"{name} could not be drawn: {in_words(error)}")
    if len(left := wanted[len(gallery.pictures) + len(gallery.notes) :]):
        gallery.notes.append(f"No map of {len(left)} more variables: --variables chooses others.")
    return gallery


def in_order(opened: OpenedStore, names: Sequence[str]) -> list[str]:
    """Variables of the store in the order in which a report shows them."""
    stored = [name for name in names if name in opened.ds.data_vars]
    return sorted(stored, key=lambda name: SHOWN_FIRST.index(name) if name in SHOWN_FIRST else len(SHOWN_FIRST))


def position_of(array: xr.DataArray, append_dim: str, label: Timestamp) -> dict[str, int]:
    """Positions of what one map shows, in every dimension but those of the map."""
    labels = {append_dim: int(array.indexes[append_dim].get_loc(label))}
    if "lead_time" in array.dims:
        leads = pd.TimedeltaIndex(array.indexes["lead_time"])
        labels["lead_time"] = max(int(leads.searchsorted(SHOWN_LEAD, side="right")) - 1, 0)
    if "ensemble_member" in array.dims:
        labels["ensemble_member"] = 0
    return labels


def _chunks_of_a_map(array: xr.DataArray, labels: dict[str, int]) -> int:
    chunks = dict(zip(array.dims, array.encoding["chunks"], strict=True))
    return prod(-(-array.sizes[dim] // chunks[dim]) for dim in array.dims if dim not in labels)


def _map(opened: OpenedStore, array: xr.DataArray, labels: dict[str, int]) -> Picture:
    field = load_field(opened, array, labels)
    panel = panel_of(field)
    caption = f"{array.name}, {labels_in_words(labels_of(field))}"
    if array.name == "wind_u_10m" and "wind_v_10m" in opened.ds:
        u, v = panel.values, np.asarray(load_field(opened, opened.ds["wind_v_10m"], labels), np.float32)
        title = f"10 metre wind, {labels_in_words(labels_of(field))}"
        panel = replace(panel, values=np.hypot(u, v), variable="wind_speed", title=title, wind=(u, v))
        caption = f"wind_u_10m and wind_v_10m, {labels_in_words(labels_of(field))}"
    if array.name == "pressure_reduced_to_mean_sea_level":
        panel = replace(panel, isobars=panel.values)
    missing = float(np.isnan(panel.values).mean())
    told = "; no value there" if missing == 1 else f"; {missing:.2%} missing, grey" if missing else ""
    return Picture(draw_panel(panel, width_px=MAP_WIDTH), f"{caption}{told}")


def meteograms_of(opened: OpenedStore, names: Sequence[str], label: Timestamp) -> Gallery:
    """A meteogram of each of a few places: of a forecast the newest label, of an analysis its last days."""
    gallery = Gallery("Meteograms")
    ds = opened.ds[in_order(opened, names)]
    for place, where in places_of(opened.ds)[:MOST_PLACES]:
        point = ds.isel(where)
        if "lead_time" in point.dims:
            point = point.sel({opened.append_dim: label})
        else:
            point = point.sel({opened.append_dim: slice(None, label)}).isel(
                {opened.append_dim: slice(-MOST_HOURS, None)}
            )
        try:
            loaded = point.assign({name: opened.load(array) for name, array in point.data_vars.items()})
            loaded.attrs["name"] = opened.ds.attrs.get("name", "")
            gallery.pictures.append(Picture(draw_point(loaded, place, width_px=SERIES_WIDTH), f"Meteogram of {place}"))
        except (ReformatError, ValueError) as error:
            gallery.notes.append(f"No meteogram of {place}: {in_words(error)}")
    return gallery


def places_of(ds: xr.Dataset) -> list[tuple[str, dict[str, int]]]:
    """Places that the grid holds, with the positions of their points; the middle of a grid that holds none of them."""
    latitude, longitude = (np.asarray(ds[name], np.float64) for name in ("latitude", "longitude"))
    dims = ("latitude", "longitude") if latitude.ndim == 1 else tuple(map(str, ds["latitude"].dims))
    found = []
    for name, north, east in PLACES:
        farthest = FARTHEST
        apart = np.abs((longitude - east + 180) % 360 - 180), np.abs(latitude - north)
        if latitude.ndim == 1:
            at = [int(apart[1].argmin()), int(apart[0].argmin())]
            far = max(apart[1].min(), apart[0].min())
            farthest = max(FARTHEST, abs(latitude[0] - latitude[1]) / 2)
        else:
            distance = np.maximum(*apart)
            at = [int(one) for one in np.unravel_index(distance.argmin(), distance.shape)]
            far = distance.min()
        if far <= farthest:
            found.append((name, dict(zip(dims, at, strict=True))))
    middle = {dim: ds.sizes[dim] // 2 for dim in dims}
    return found or [("the middle of the grid", middle)]
