"""Whether values are physically possible, as a check.

In: a published store. Out: a CheckResult. It reads a few columns of chunks of the newest label.
"""

import math

import numpy as np
from pydantic import Field

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.check.places import Place, place_of
from reformatters_dagster.core.check.sampling import sampled_columns
from reformatters_dagster.core.check.validators import CheckResult, Validator
from reformatters_dagster.core.check.wording import listed, text_of
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.variables import DataVar


class CheckValueRange(Validator):
    """Values of the newest label lie in the `valid_range` of their variable, where it has one.

    The check reads the columns of `sampled_columns`. A failure is a WARN: the packing, the units or the field upstream may have
    changed.
    """

    name: str = "value_range"
    sampled_chunks: int = Field(default=2, ge=1)
    """How many columns of chunks are read of each variable."""

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:  # noqa: ARG002
        bounded = [one for one in opened.data_vars if one.valid_range is not None and one.name in opened.ds]
        beyond: list[str] = []
        places: list[Place] = []
        measured = 0
        for data_var in bounded if opened.labels.size else []:
            assert data_var.valid_range is not None
            low, high = data_var.valid_range
            lowest, highest, place = _extremes(opened, data_var, self.sampled_chunks)
            measured += not math.isnan(lowest)
            if place is not None:
                places.append(place)
                beyond.append(
                    f"{data_var.name!r} reaches from {lowest:.6g} to {highest:.6g} {data_var.units} where {low:.6g} to "
                    f"{high:.6g} is possible{place.remark}"
                )
        metadata: dict[str, float | int | str] = {"variables_beyond": len(beyond), "variables_measured": measured}
        if not beyond:
            of_all = "" if measured == len(bounded) else f" of {len(bounded)}"
            others = ", the others have no values" if of_all else ""
            message = f"values of {measured}{of_all} variables are within what is possible{others}"
            return CheckResult(name=self.name, passed=True, message=message, metadata=metadata)
        message = (
            f"at {opened.append_dim} {text_of(opened.labels[-1])} {listed(beyond, '; ')}; compare with the source, whose "
            "packing or units may have changed"
        )
        return CheckResult(
            name=self.name,
            passed=False,
            severity="WARN",
            message=message,
            metadata=metadata | places[0].metadata(),
            places=tuple(places),
        )


def _extremes(opened: OpenedStore, data_var: DataVar, sampled_chunks: int) -> tuple[float, float, Place | None]:
    """Least and greatest value of the newest label, NaN where every value is NaN; and where most values are impossible."""
    assert data_var.valid_range is not None
    low, high = data_var.valid_range
    array = opened.ds[data_var.name]
    newest = array.isel({opened.append_dim: -1})
    blocks = [opened.load(newest.isel(column)) for column in sampled_columns(opened, array, sampled_chunks)]
    found = np.concatenate([block.to_numpy()[~np.isnan(block.to_numpy())] for block in blocks])
    impossible = [(block.to_numpy() < low) | (block.to_numpy() > high) for block in blocks]
    worst = max(range(len(blocks)), key=lambda at: int(impossible[at].sum()))
    place = place_of(opened, blocks[worst], impossible[worst]) if impossible[worst].any() else None
    return (float(found.min()), float(found.max()), place) if found.size else (math.nan, math.nan, None)
