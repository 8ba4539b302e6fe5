"""Pictures straight from an opened store, for readers.

In: xarray objects of a store. Out: PNG bytes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from reformatters_dagster.core.spec.axes import RegularAxis
from reformatters_dagster.core.spec.grids import LambertGrid
from reformatters_dagster.pictures.maps import MapPanel, draw_panel
from reformatters_dagster.pictures.series import Series, draw_meteogram
from reformatters_dagster.pictures.times import labels_in_words

_LABELS = ("init_time", "lead_time", "time", "ensemble_member")
_PLANES = (("latitude", "longitude"), ("y", "x"))


def draw_field(field: xr.DataArray, *, width_px: int = 1000) -> bytes:
    """A map of one field of a store, titled with its name, init time, lead time and valid time.

    Parameters
    ----------
    field : xr.DataArray
        Two dimensions are left: latitude and longitude, or y and x.

    Raises
    ------
    ValueError
        When others are left: select one label of each first.
    """
    return draw_panel(panel_of(field), width_px=width_px)


def panel_of(field: xr.DataArray, title: str | None = None) -> MapPanel:
    """One field of a store as a `MapPanel`; the title is made of its labels, unless one is given."""
    if tuple(field.dims) not in _PLANES:
        rest = [str(dim) for dim in field.dims if dim not in {"latitude", "longitude", "y", "x"}]
        raise ValueError(
            f"a map of {field.name!r} was asked for; it has dimensions {tuple(map(str, field.dims))}: select one label of "
            f"{', '.join(rest) or 'all but latitude and longitude, or y and x'} first"
        )
    vertical, horizontal = (field[dim].to_numpy() for dim in field.dims)
    name = str(field.attrs.get("long_name", field.name))
    return MapPanel(
        np.asarray(field.to_numpy(), np.float32),
        vertical,
        horizontal,
        title if title is not None else ", ".join(filter(None, (name, labels_in_words(labels_of(field))))),
        str(field.attrs.get("units", "")),
        variable=str(field.name),
        grid=_grid_of(field) if field.dims == ("y", "x") else None,
    )


def draw_point(ds: xr.Dataset, place: str, *, width_px: int = 900) -> bytes:
    """A meteogram of one place of a store.

    Parameters
    ----------
    ds : xr.Dataset
        One place, selected; `lead_time` or `time` is left, and `ensemble_member` may be. Times without data are gaps
        between others, and left out before the first and after the last.
    place : str
        Its name, for the title.

    Raises
    ------
    ValueError
        When another dimension is left, or there is no data.
    """
    along = next((dim for dim in ("lead_time", "time") if dim in ds.dims), None)
    rest = sorted(str(dim) for dim in ds.dims if dim not in {along, "ensemble_member"})
    if along is None or rest:
        raise ValueError(
            f"a meteogram of {place!r} was asked for; the data have dimensions {sorted(map(str, ds.dims))}: "
            f"select one label of {', '.join(rest) or 'all but lead_time or time'}, and leave lead_time or time"
        )
    shown = ds[[name for name, array in ds.data_vars.items() if array.dtype.kind == "f" and along in array.dims]].load()
    known = shown.notnull().to_dataarray()
    (at,) = np.nonzero(known.any([dim for dim in known.dims if dim != along]).to_numpy())
    if not at.size:
        raise ValueError(f"a meteogram of {place!r} was asked for; there is no data: choose another init time or place")
    shown = shown.isel({along: slice(at[0], at[-1] + 1)})
    members = ("ensemble_member",) if "ensemble_member" in shown.dims else ()
    series = {
        str(name): Series(array.transpose(along, ...).to_numpy(), str(array.attrs.get("units", "")))
        for name, array in shown.data_vars.items()
        if np.isfinite(array).any() and set(array.dims) <= {along, *members}
    }
    init = {"init_time": ds["init_time"].item()} if "init_time" in ds.coords and not ds["init_time"].ndim else {}
    words = labels_in_words({name: pd.Timestamp(value) for name, value in init.items()})
    times = pd.DatetimeIndex((shown["time"] if along == "time" else shown["init_time"] + shown["lead_time"]).to_numpy())
    title = ", ".join(filter(None, (place, str(ds.attrs.get("name", "")), words)))
    return draw_meteogram(times, series, title, width_px=width_px)


def labels_of(field: xr.DataArray) -> Mapping[str, object]:
    """The labels that were selected, by dimension."""
    return {name: field[name].values[()] for name in _LABELS if name in field.coords and not field[name].ndim}


def _grid_of(field: xr.DataArray) -> LambertGrid:
    if "spatial_ref" not in field.coords:
        raise ValueError(
            f"a map of {field.name!r} was asked for; its grid is projected and it has no coordinate spatial_ref: keep it"
        )
    attrs: Mapping[str, Any] = field["spatial_ref"].attrs
    first, *others = np.atleast_1d(attrs["standard_parallel"]).tolist()
    return LambertGrid(
        y=_axis(field["y"].to_numpy()),
        x=_axis(field["x"].to_numpy()),
        latitude_of_origin=attrs["latitude_of_projection_origin"],
        central_meridian=attrs["longitude_of_central_meridian"],
        standard_parallels=(first, others[0] if others else first),
        earth_radius=attrs["semi_major_axis"],
    )


def _axis(labels: "np.ndarray[Any, Any]") -> RegularAxis:
    return RegularAxis(first=float(labels[0]), step=float(labels[-1] - labels[0]) / (labels.size - 1), size=labels.size)
