"""Where in a store suspicious values lie: for the message of a check, its figures and its picture.

In: a part of a data variable in memory, and which of its values are suspicious. Out: labels, lead times, members and a box of
latitudes and longitudes.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.check.wording import degrees, text_of
from reformatters_dagster.core.spec.values import Frozen
from reformatters_dagster.core.spec.wording import spell_label

type Flags = npt.NDArray[np.bool_]


class Place(Frozen):
    """Where suspicious values of a variable lie. Empty words stand for dimensions that the store has not."""

    variable: str
    label: str
    """Of the append dimension."""
    lead_times: str = ""
    members: str = ""
    box: tuple[float, float, float, float] | None = None
    """South, north, west and east edge, in degrees; None where the store does not say where its points lie."""
    is_everywhere: bool = False
    """Whether they are at every point that was read, whatever box that was."""
    field: dict[str, int]
    """Positions, by dimension, of the field that has most of them: for `isel`."""

    @property
    def text(self) -> str:
        """`lead times 6 h to 12 h, 40 to 50 N, 10 to 20 E`."""
        parts = [
            f"lead times {self.lead_times}" if self.lead_times else "",
            f"members {self.members}" if self.members else "",
            self._area,
        ]
        return ", ".join(filter(None, parts))

    @property
    def _area(self) -> str:
        if self.is_everywhere:
            return "everywhere"
        return "" if self.box is None else box_text(self.box)

    @property
    def remark(self) -> str:
        """The text in brackets, after a space; empty where nothing is known."""
        return f" ({self.text})" if self.text else ""

    def metadata(self) -> dict[str, float | int | str]:
        """The place as figures of a `CheckResult`."""
        found = {"where_variable": self.variable, "where_label": self.label, "where_lead_times": self.lead_times}
        found |= {"where_members": self.members, "where_box": self._area}
        return {key: value for key, value in found.items() if value}


def box_text(box: tuple[float, float, float, float]) -> str:
    """Latitudes from south to north, then longitudes from west to east."""
    south, north, west, east = box
    latitude = (
        degrees(south, "N", "S") if south == north else f"{degrees(south, 'N', 'S')} to {degrees(north, 'N', 'S')}"
    )
    longitude = degrees(west, "E", "W") if west == east else f"{degrees(west, 'E', 'W')} to {degrees(east, 'E', 'W')}"
    return f"{latitude}, {longitude}"


def place_of(opened: OpenedStore, block: xr.DataArray, suspicious: Flags) -> Place:
    """Where the suspicious values of a block lie; there must be one. Of the append dimension, the newest label counts."""
    axis = opened.append_dim
    if axis in block.dims:
        at = block.dims.index(axis)
        newest = int(np.flatnonzero(_along(suspicious, at))[-1])
        block, suspicious = block.isel({axis: newest}), np.asarray(suspicious.take(newest, axis=at))
    found = opened.labels.get_indexer(pd.DatetimeIndex(np.atleast_1d(block[axis].to_numpy())))
    label = opened.labels[int(found[0])]
    counts = suspicious.sum(axis=(-2, -1))
    worst = np.unravel_index(int(np.argmax(counts)), counts.shape) if counts.ndim else ()
    field: dict[str, int] = {axis: int(found[0])}
    words: dict[str, str] = {}
    for at, dim in enumerate(map(str, block.dims[:-2])):
        labels = block.indexes[dim] if dim in block.indexes else pd.RangeIndex(block.sizes[dim])
        words[dim] = _ranges(labels, np.flatnonzero(_along(suspicious, at)))
        whole = opened.ds.indexes.get(dim, labels)
        field[dim] = int(whole.get_indexer(pd.Index([labels[int(worst[at])]]))[0])
    return Place(
        variable=str(block.name),
        label=text_of(label),
        lead_times=words.get("lead_time", ""),
        members=words.get("ensemble_member", ""),
        box=_box(block, suspicious.any(axis=tuple(range(suspicious.ndim - 2)))),
        field=field,
    )


def _along(flags: Flags, axis: int) -> Flags:
    found: Flags = flags.any(axis=tuple(at for at in range(flags.ndim) if at != axis))
    return found


def _ranges(labels: "pd.Index[pd.Timedelta] | pd.Index[int]", positions: npt.NDArray[np.intp]) -> str:
    """Labels at some positions, those that follow each other as a range; at most three ranges."""
    breaks = [0, *(at + 1 for at, (one, other) in enumerate(pairwise(positions)) if other != one + 1), len(positions)]
    texts = []
    for first, stop in pairwise(breaks):
        start, end = (spell_label(labels[int(positions[at])]) for at in (first, stop - 1))
        texts.append(start if start == end else f"{start} to {end}")
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more ranges" if len(texts) > 3 else "")


def _box(block: xr.DataArray, points: Flags) -> tuple[float, float, float, float] | None:
    if not {"latitude", "longitude"} <= {*map(str, block.coords)}:
        return None
    latitude, longitude = (block[name].to_numpy().astype(np.float64) for name in ("latitude", "longitude"))
    if latitude.ndim == 1:
        latitude, longitude = np.broadcast_arrays(latitude[:, None], longitude[None, :])
    found = latitude[points], longitude[points]
    return tuple(round(float(edge(one)), 4) for one in found for edge in (np.min, np.max))  # type: ignore[return-value]
