"""How much NaN the newest labels hold, as a check.

In: a published store. Out: a CheckResult. It reads a few columns of chunks of each variable.
"""

import math
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, model_validator

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.check.places import Place, place_of
from reformatters_dagster.core.check.sampling import sampled_columns
from reformatters_dagster.core.check.validators import CheckResult, Severity, Validator
from reformatters_dagster.core.check.wording import listed, percent, quoted, text_of
from reformatters_dagster.core.spec.errors import UnknownVariable
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar


class _Nans(NamedTuple):
    """NaN of a variable in a label."""

    share: float
    place: Place | None
    """Where most of it lies, of the columns that were read; None where there is none."""


class CheckRecentNans(Validator):
    """The newest labels hold no more NaN than allowed.

    The check reads a few columns of chunks of each variable, with all lead times: see `sampled_columns`. Lead time 0 does not
    count for a variable that has no hour 0, nor the first lead time for a rate, which lies between two totals.

    A failure is an ERROR where a label before the newest has too much NaN, or a variable has no value at all. It is a WARN where
    only the newest label has too much NaN, since late files may still fill it.

    >>> CheckRecentNans(max_nan_fraction=(0.4, 0.0), exclude=("composite_reflectivity",)).window
    2
    """

    name: str = "recent_nans"
    max_nan_fraction: float | tuple[float, ...] = 0.0
    """Share of NaN allowed in a label. A tuple gives one share per label, newest first, at most one for
    each label of the window; the last holds for all older labels. Labels whose share may be 1 are not read."""
    window: int = Field(default=2, ge=1)
    """How many of the newest labels are read."""
    sampled_chunks: int = Field(default=2, ge=1)
    """How many columns of chunks are read of each variable."""
    include: tuple[str, ...] | None = None
    """Variables to read. None: every variable but those with a `source_fill_value`, in which NaN is a value."""
    exclude: tuple[str, ...] = ()
    """Variables not to read."""

    @model_validator(mode="after")
    def _measures_something(self) -> Self:
        allowed = self._allowed
        if not allowed or any(math.isnan(share) or share < 0 for share in allowed):
            raise ValueError(f"max_nan_fraction {self.max_nan_fraction!r} must be one share or more, none below 0")
        if all(share >= 1 for share in allowed[: self.window]):
            raise ValueError(
                f"max_nan_fraction {self.max_nan_fraction!r} allows all of the newest {self.window} labels to be NaN, "
                "so this check could never fail; lower a share or remove the check"
            )
        if len(allowed) > self.window:
            raise ValueError(
                f"max_nan_fraction {self.max_nan_fraction!r} has more shares than the {self.window} labels of its window, "
                "so the last is never used; remove shares or widen the window"
            )
        return self

    @property
    def _allowed(self) -> tuple[float, ...]:
        shares = self.max_nan_fraction
        return shares if isinstance(shares, tuple) else (shares,)

    def _allowed_at(self, recency: int) -> float:
        return self._allowed[min(recency, len(self._allowed) - 1)]

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:  # noqa: ARG002
        """Answer as `Validator.check` does.

        Raises
        ------
        UnknownVariable
            The dataset has no variable of a name in `include` or `exclude`.
        """
        published = min(self.window, opened.labels.size)
        recencies = [recency for recency in range(published) if self._allowed_at(recency) < 1]
        found = {
            data_var.name: _nan_shares(opened, data_var, recencies, self.sampled_chunks)
            for data_var in self._selected(opened.data_vars)
        }
        unmeasured = [name for name, by_recency in found.items() if not by_recency]
        if unmeasured or not found:
            what = f"of {quoted(unmeasured)}" if unmeasured else "at all"
            message = (
                f"nothing was measured {what} in the newest {self.window} labels of {opened.append_dim}; "
                "publish data, or widen the window or the variables of this check"
            )
            return CheckResult(name=self.name, passed=False, message=message)
        return self._judge(opened, found)

    def _selected(self, data_vars: tuple[DataVar, ...]) -> list[DataVar]:
        known = [data_var.name for data_var in data_vars]
        unknown = sorted({*(self.include or ()), *self.exclude} - set(known))
        if unknown:
            raise UnknownVariable(
                f"{self.name} is to look at {quoted(unknown)}, which the dataset does not have; "
                f"it has {', '.join(sorted(known))}"
            )
        included = self.include
        if included is None:
            included = tuple(data_var.name for data_var in data_vars if data_var.source_fill_value is None)
        return [data_var for data_var in data_vars if data_var.name in included and data_var.name not in self.exclude]

    def _judge(self, opened: OpenedStore, found: dict[str, dict[int, _Nans]]) -> CheckResult:
        measured = [
            (nans.share, recency, name) for name, by_recency in found.items() for recency, nans in by_recency.items()
        ]
        worst, _, worst_name = max(measured)
        over = sorted((m for m in measured if m[0] > self._allowed_at(m[1])), reverse=True)
        metadata: dict[str, float | int | str] = {
            "worst_nan_fraction": worst,
            "worst_variable": worst_name,
            "variables_over": len({name for _, _, name in over}),
            "variables_measured": len(found),
        }
        if not over:
            found_most = f"at most {percent(worst)} NaN ({worst_name!r})" if worst else "no NaN"
            message = f"{found_most} in the newest labels of {opened.append_dim}"
            return CheckResult(name=self.name, passed=True, message=message, metadata=metadata)
        places = [found[name][recency].place for _, recency, name in over]
        findings = [
            f"{name!r} has {percent(share)} at {text_of(opened.labels[-1 - recency])} where "
            f"{percent(self._allowed_at(recency))} is allowed{'' if place is None else place.remark}"
            for (share, recency, name), place in zip(over, places, strict=True)
        ]
        message = (
            f"too much NaN in {metadata['variables_over']} of {len(found)} variables: {listed(findings, '; ')}; "
            f"`reformat status {opened.dataset_id} --missing` names the source files that are missing"
        )
        may_fill = all(recency == 0 and share < 1 for share, recency, _ in over)
        severity: Severity = "WARN" if may_fill else "ERROR"
        told = tuple(place for place in places if place is not None)
        where = told[0].metadata() if told else {}
        return CheckResult(
            name=self.name, passed=False, severity=severity, message=message, metadata=metadata | where, places=told
        )


def _nan_shares(opened: OpenedStore, data_var: DataVar, recencies: list[int], sampled_chunks: int) -> dict[int, _Nans]:
    """NaN by recency, 0 for the newest label; empty where there is nothing to measure."""
    if data_var.name not in opened.ds or not recencies:
        return {}
    array = opened.ds[data_var.name]
    newest = opened.labels.size - 1
    recent = array.isel({opened.append_dim: [newest - recency for recency in recencies]})
    nans, values = np.zeros(len(recencies), dtype=np.int64), 0
    most = np.zeros(len(recencies), dtype=np.int64)
    places: list[Place | None] = [None] * len(recencies)
    everywhere = np.ones(len(recencies), np.bool_)
    for column in sampled_columns(opened, array, sampled_chunks):
        block = opened.load(recent.isel(column))
        if "lead_time" in block.dims:
            block = block.isel(lead_time=_has_value(data_var, pd.TimedeltaIndex(block.indexes["lead_time"])))
        for at in range(len(recencies)):
            field = block.isel({opened.append_dim: at})
            flags = np.isnan(field.to_numpy())
            count = int(flags.sum())
            nans[at] += count
            everywhere[at] &= flags.any(axis=tuple(range(flags.ndim - 2))).all()
            if count > most[at]:
                most[at], places[at] = count, place_of(opened, field, flags)
        values += block.size // len(recencies)
    if not values:
        return {}
    return {
        recency: _Nans(int(count) / values, place and place.model_copy(update={"is_everywhere": bool(whole)}))
        for recency, count, place, whole in zip(recencies, nans, places, everywhere, strict=True)
    }


def _has_value(data_var: DataVar, lead_times: pd.TimedeltaIndex) -> npt.NDArray[np.bool_]:
    """At which lead times a variable can have a value."""
    has_value = np.ones(lead_times.size, np.bool_) if data_var.has_hour_0 else lead_times > Timedelta(0)
    if data_var.deaccumulation is not None:
        has_value[:1] = False
    return np.asarray(has_value, np.bool_)
