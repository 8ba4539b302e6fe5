"""Whether the newest fields are like the fields before them, as a check.

In: a published store. Out: a CheckResult. The bounds are wide: weather, seasons and the time of day are no drift, and the check
stays silent where it cannot tell drift from them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.check.places import Place, place_of
from reformatters_dagster.core.check.sampling import sampled_columns
from reformatters_dagster.core.check.validators import CheckResult, Validator
from reformatters_dagster.core.check.wording import listed, text_of
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.variables import DataVar

WINDOW = 30
"""Most labels before the newest that it is compared with."""
CHUNKS = 4
"""Most chunks of the append dimension, beside the newest label's own, that these labels lie in."""
LEAST = 4
"""Fewest labels before the newest for it to be judged."""
STEADY = 5.0
"""A figure of the earlier fields predicts the next only where its maximum is at most this many times its minimum."""
OTHER_SPREAD, OTHER_AMOUNT = 50.0, 200.0
"""Factors by which a spread, or the mean of an amount, must change to count as drift."""
LIKE, STILL_LIKE, UNLIKE = 0.8, 0.5, 0.2
"""Bounds of the correlation of one field with the next."""
QUANTA = 8
"""A field is told from a flat one only where it varies by more than so many steps of its rounded mantissa."""


class CheckStatsDrift(Validator):
    """Fields of the newest label are not flat, in other units or in other places than those of the labels before.

    The check reads one column of chunks of each variable: see `sampled_columns`. It compares the newest label with up to 30
    labels before it, as far as they lie in the newest five chunks of the append dimension. Only lead times that the newest label
    has count. A failure is a WARN.

    Notes
    -----
    What counts as drift:

    - Any variable: the field is one constant, which is not an end of the range seen before or of the valid range, nor 0 for an
      amount.
    - An amount, whose values begin at 0 (rain, radiation, cloud cover): the mean is 200 times as large or as small, in the same
      places. An amount that appears or vanishes is weather.
    - Any other variable (wind, temperature, pressure): the mean lies well outside what was seen, and a tenth of the valid range
      away from the usual mean; or the spread is 50 times as wide or narrow; or the field does not look like the one before,
      where all earlier ones did: it is mirrored, shifted, or another field.

    Without a valid range only the first rule applies.
    """

    name: str = "stats_drift"
    sampled_chunks: int = Field(default=1, ge=1)
    """How many columns of chunks are read of each variable."""

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:  # noqa: ARG002
        drifts: list[str] = []
        places: list[Place] = []
        measured = 0
        for data_var in opened.data_vars if opened.labels.size > LEAST else ():
            if data_var.name in opened.ds:
                fields = _fields(opened, data_var, self.sampled_chunks)
                measured += any(len(of_column) > LEAST for of_column in fields)
                for of_column in fields:
                    if (drift := drift_of(data_var, of_column)) is not None:
                        place = of_column[-1].place
                        drifts.append(f"{data_var.name!r} {drift}{'' if place is None else place.remark}")
                        places += [place] if place is not None else []
                        break
        metadata: dict[str, float | int | str] = {"variables_drifted": len(drifts), "variables_measured": measured}
        if not drifts:
            message = f"{measured} variables of the newest {opened.append_dim} are like those before"
            if not measured:
                message = f"nothing to compare yet: no variable has {LEAST} labels before the newest"
            return CheckResult(name=self.name, passed=True, message=message, metadata=metadata)
        message = (
            f"at {opened.append_dim} {text_of(opened.labels[-1])} {listed(drifts, '; ')}; compare with the source, whose units, "
            "grid or fields may have changed"
        )
        metadata |= places[0].metadata() if places else {}
        return CheckResult(
            name=self.name,
            passed=False,
            severity="WARN",
            message=message,
            metadata=metadata,
            places=tuple(places),
        )


@dataclass(frozen=True)
class FieldStats:
    """Figures of one label of a variable that are compared."""

    mean: float
    spread: float
    low: float
    high: float
    pattern: npt.NDArray[np.float64]
    """Mean over lead times and members, one value per point; NaN where a point has no value."""
    place: Place | None = None
    """Where its values lie."""

    @classmethod
    def of(cls, values: npt.NDArray[np.float32]) -> "FieldStats | None":
        """Figures of the (..., y, x) values of a label; None where all are NaN."""
        fields = values.reshape(-1, values.shape[-2] * values.shape[-1])
        known = ~np.isnan(fields)
        if not known.any():
            return None
        found = fields[known].astype(np.float64)
        counts = known.sum(axis=0)
        sums = np.where(known, fields, 0).sum(axis=0, dtype=np.float64)
        pattern = np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
        return cls(float(found.mean()), float(found.std()), float(found.min()), float(found.max()), pattern)


def drift_of(data_var: DataVar, fields: Sequence[FieldStats]) -> str | None:
    """Say in words what is odd about the last field; None where nothing is."""
    if len(fields) <= LEAST:
        return None
    *earlier, newest = fields
    seen = min(one.low for one in earlier), max(one.high for one in earlier)
    told = _flat(data_var, newest, earlier, seen)
    if told is not None or data_var.valid_range is None:
        return told
    if _is_amount(data_var):
        return _other_amount(data_var, newest, earlier)
    return _other_values(data_var, newest, earlier, seen) or _elsewhere(newest, earlier)


def _flat(
    data_var: DataVar, newest: FieldStats, earlier: Sequence[FieldStats], seen: tuple[float, float]
) -> str | None:
    """Find a constant field. An amount may well be 0 everywhere, and a share may be at an end of its range."""
    edges = {*seen, *(data_var.valid_range or ()), *((0.0,) if _is_amount(data_var) else ())}
    if newest.low < newest.high or newest.low in edges:
        return None
    if min(one.spread for one in earlier) <= QUANTA * _quantum(data_var, newest.mean, *seen):
        return None
    return f"is {newest.mean:.6g} {data_var.units} everywhere, it was {seen[0]:.6g} to {seen[1]:.6g} before"


def _other_values(
    data_var: DataVar, newest: FieldStats, earlier: Sequence[FieldStats], seen: tuple[float, float]
) -> str | None:
    """Find other units, or another quantity, in values that do not begin at 0."""
    assert data_var.valid_range is not None
    spreads = [one.spread for one in earlier]
    spread, centre = float(np.median(spreads)), float(np.median([one.mean for one in earlier]))
    width = data_var.valid_range[1] - data_var.valid_range[0]
    margin = (seen[1] - seen[0]) / 4
    is_beyond = newest.mean < seen[0] - margin or newest.mean > seen[1] + margin
    if is_beyond and abs(newest.mean - centre) > max(5 * spread, width / 10):
        return f"has a mean of {newest.mean:.6g} {data_var.units}, values were {seen[0]:.6g} to {seen[1]:.6g} before"
    if _is_steady(spreads) and min(spreads) > QUANTA * _quantum(data_var, *seen):
        factor = newest.spread / spread
        if not 1 / OTHER_SPREAD <= factor <= OTHER_SPREAD:
            return f"varies by {newest.spread:.3g} {data_var.units}, it did by about {spread:.3g} before"
    return None


def _other_amount(data_var: DataVar, newest: FieldStats, earlier: Sequence[FieldStats]) -> str | None:
    """Find an amount in other units: much more or less of it, in the same places."""
    means = [one.mean for one in earlier]
    if not _is_steady(means) or _likeness(newest, earlier[-1]) < STILL_LIKE:
        return None
    usual = float(np.median(means))
    if 1 / OTHER_AMOUNT <= newest.mean / usual <= OTHER_AMOUNT:
        return None
    return f"has a mean of {newest.mean:.3g} {data_var.units}, it was about {usual:.3g} before, in the same places"


def _elsewhere(newest: FieldStats, earlier: Sequence[FieldStats]) -> str | None:
    """Find a field that is mirrored, shifted, or another one: one that is never absent does not change so much in a step."""
    before = min(_likeness(one, other) for one, other in pairwise(earlier))
    now = _likeness(newest, earlier[-1])
    if before < LIKE or now >= UNLIKE or newest.low == newest.high:
        return None
    return f"does not look like the label before (correlation {now:.2f}), as those before did ({before:.2f} or more)"


def _is_amount(data_var: DataVar) -> bool:
    """Whether values begin at about 0."""
    low, high = data_var.valid_range or (-math.inf, math.inf)
    return low <= 0 and -low <= high / 100


def _is_steady(figures: Sequence[float]) -> bool:
    return min(figures) > 0 and max(figures) <= STEADY * min(figures)


def _quantum(data_var: DataVar, *values: float) -> float:
    """About the smallest step between two stored values."""
    return max(map(abs, values)) * 2.0 ** -(data_var.keep_mantissa_bits or 23)


def _likeness(one: FieldStats, other: FieldStats) -> float:
    """Correlation of two patterns. UNLIKE, which proves nothing, where one is flat or there are fewer than 9 points."""
    known = ~(np.isnan(one.pattern) | np.isnan(other.pattern))
    if known.sum() < 9:
        return UNLIKE
    first, second = one.pattern[known], other.pattern[known]
    scale = first.std() * second.std()
    if scale <= 1e-12 * max(1e-12, abs(first.mean() * second.mean())):
        return UNLIKE
    return float(((first - first.mean()) * (second - second.mean())).mean() / scale)


def _fields(opened: OpenedStore, data_var: DataVar, sampled_chunks: int) -> list[list[FieldStats]]:
    """For each sampled column, the fields of the labels before the newest and of the newest, oldest first.

    Empty where the newest label has no value.
    """
    array = opened.ds[data_var.name]
    newest, chunk = opened.labels.size - 1, int(array.encoding["chunks"][0])
    first = max(0, newest - WINDOW, (newest // chunk - CHUNKS) * chunk)
    recent = array.isel({opened.append_dim: slice(first, newest + 1)})
    columns = sampled_columns(opened, array, sampled_chunks)
    return [_of_column(opened, opened.load(recent.isel(column))) for column in columns]


def _of_column(opened: OpenedStore, block: xr.DataArray) -> list[FieldStats]:
    values = block.to_numpy()
    if "lead_time" in block.dims:
        axis = block.dims.index("lead_time")
        there = ~np.isnan(values[-1]).all(axis=tuple(at for at in range(values.ndim - 1) if at != axis - 1))
        values = np.compress(there, values, axis=axis)
    fields = [FieldStats.of(label) for label in values]
    if fields[-1] is None:
        return []
    newest = block.isel({opened.append_dim: -1})
    fields[-1] = replace(fields[-1], place=place_of(opened, newest, ~np.isnan(newest.to_numpy())))
    return [one for one in fields if one is not None]
