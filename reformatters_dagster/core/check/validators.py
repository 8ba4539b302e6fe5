"""In: a published store, opened lazily, and the time it is. Out: one CheckResult per validator."""

import logging
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import Field, model_validator

from reformatters_dagster.core.ledger.entries import LedgerEntry, LedgerView
from reformatters_dagster.core.spec.axes import AppendAxis
from reformatters_dagster.core.spec.errors import SourceFileMissing, UnknownVariable
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import AppendDim, Duration, Frozen, Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.reading import open_published

log = logging.getLogger(__name__)

MOST_HOLES = 100
"""Partitions lacking shards of which the ledger is asked; more are not single holes any more, and each is a request."""

type Severity = Literal["ERROR", "WARN"]


class CheckResult(Frozen):
    """What one validator found. The same facts give the same words, so that alerts group."""

    name: str
    passed: bool
    severity: Severity = "ERROR"
    """How bad it is that the check failed; without meaning where it passed."""
    message: str
    metadata: dict[str, float | int | str] = Field(default_factory=dict)
    """Figures worth a chart."""


@dataclass(frozen=True)
class OpenedStore:
    """A final store as readers see it, and what it is held to.

    Attributes
    ----------
    ds : xr.Dataset
        Opened from Zarr without dask, so that indexing reads only the chunks it touches.
    append_axis : AppendAxis
        The grid of the dimension that grows, from the start of this archive.
    data_vars : tuple of DataVar
        The variables the template has.
    shard_keys : callable
        Variable name to the keys of its stored objects, below the array: `{"c/0/0/0/1", ...}`. It lists the store.
    read_object : callable
        Key to the content of an object of the store; None where there is none.
    coordinates : callable
        End of the append dimension to every coordinate the template has for labels before it.
    ledger : LedgerView, optional
        None where nobody keeps one of this store.
    """

    ds: xr.Dataset
    append_axis: AppendAxis
    data_vars: tuple[DataVar, ...]
    shard_keys: Callable[[str], set[str]]
    read_object: Callable[[str], bytes | None]
    coordinates: Callable[[Timestamp], xr.Dataset]
    ledger: LedgerView | None = None

    @classmethod
    def of(cls, store: Store, template: TemplateConfig, ledger: LedgerView | None) -> Self:
        """A store that stands, as readers open it."""

        def shard_keys(variable: str) -> set[str]:
            return {key.removeprefix(f"{variable}/") for key, _ in store.list(f"{variable}/c")}

        def read_object(key: str) -> bytes | None:
            found = store.get_or_none(key)
            return found and found[0]

        ds = open_published(store)
        return cls(ds, template.append_dim, template.data_vars, shard_keys, read_object, template.coordinates, ledger)

    @property
    def append_dim(self) -> AppendDim:
        return self.append_axis.name

    @property
    def dataset_id(self) -> str:
        return str(self.ds.attrs["dataset_id"])

    @property
    def labels(self) -> pd.DatetimeIndex:
        """Labels of the append dimension that are published."""
        return pd.DatetimeIndex(self.ds.indexes[self.append_dim])

    def shards(self) -> Iterator[pd.DatetimeIndex]:
        """Published labels of each shard, in their order."""
        length = next((_shard_shape(self.ds[one.name])[0] for one in self.data_vars if one.name in self.ds), 1)
        labels = self.labels
        yield from (labels[start : start + length] for start in range(0, len(labels), length))


class Validator(Frozen, ABC):
    """A question asked of a published store. It reads little and never the clock."""

    name: str
    """Names the check in results; set it to tell two validators of a kind apart in one dataset."""
    needs_ledger: ClassVar[bool] = False
    """Whether it can answer only where there is a ledger."""

    @abstractmethod
    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:
        """Answer for the store as it stands; `now` is naive UTC."""


class CheckCurrentData(Validator):
    """The newest label due by now is published.

    A label is due `max_delay` after the time it names. Only labels of the grid can be due, so the answer changes when
    the next one falls due and does not depend on the minute at which the check runs.
    """

    name: str = "current_data"
    max_delay: Duration

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:
        axis, labels = opened.append_axis, opened.labels
        steps = (now - self.max_delay - axis.start) // axis.frequency
        if steps < 0:
            message = f"no {axis.name} is due yet; the first is {text_of(axis.start)}"
            return CheckResult(name=self.name, passed=True, message=message, metadata={"steps_late": 0})
        due = axis.start + steps * axis.frequency
        newest = labels.max() if labels.size else axis.start - axis.frequency
        found = text_of(newest) if labels.size else "none"
        late = max(math.ceil((due - newest) / axis.frequency), 0)
        message = f"{axis.name} {text_of(due)} is due, the newest published is {found}"
        if late:
            message += f"; run `reformat update {opened.dataset_id}` and see what upstream has"
        metadata: dict[str, float | int | str] = {"due": text_of(due), "newest": found, "steps_late": late}
        return CheckResult(name=self.name, passed=late == 0, message=message, metadata=metadata)


class CheckRecentNans(Validator):
    """The newest labels hold no more NaN than allowed.

    Of each variable a few columns of chunks are read, with all lead times and whole, as a chunk is decoded whole for a
    single point too. Which columns follows from dataset, newest label and variable: a repeated check finds the same,
    the next label is looked at elsewhere. Lead time 0 does not count for a variable that has no hour 0.

    A failure is an ERROR where a label older than the newest is concerned or a variable holds nothing at all; a hole
    in the newest label alone may still fill, and is a WARN.
    """

    name: str = "recent_nans"
    max_nan_fraction: float | tuple[float, ...] = 0.0
    """Share of NaN allowed in a label; several by recency, newest first, of which the last holds for all older ones.
    Labels whose share may be 1 are not read."""
    window: int = Field(default=2, ge=1)
    """How many of the newest labels are looked at."""
    sampled_chunks: int = Field(default=2, ge=1)
    """Columns of chunks read of each variable."""
    include: tuple[str, ...] | None = None
    """Variables to look at; None for all but those in which NaN is a value: they have a `source_fill_value`."""
    exclude: tuple[str, ...] = ()
    """Further variables not to look at."""

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
        return self

    @property
    def _allowed(self) -> tuple[float, ...]:
        shares = self.max_nan_fraction
        return shares if isinstance(shares, tuple) else (shares,)

    def _allowed_at(self, recency: int) -> float:
        return self._allowed[min(recency, len(self._allowed) - 1)]

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:  # noqa: ARG002
        """Answer as `Validator.check` does; an `include` or `exclude` that names no variable raises UnknownVariable."""
        published = min(self.window, opened.labels.size)
        recencies = [recency for recency in range(published) if self._allowed_at(recency) < 1]
        shares = {
            data_var.name: _nan_shares(opened, data_var, recencies, self.sampled_chunks)
            for data_var in self._selected(opened.data_vars)
        }
        unmeasured = [name for name, by_recency in shares.items() if not by_recency]
        if unmeasured or not shares:
            what = f"of {_quoted(unmeasured)}" if unmeasured else "at all"
            message = (
                f"nothing was measured {what} in the newest {self.window} labels of {opened.append_dim}; "
                "publish data, or widen the window or the variables of this check"
            )
            return CheckResult(name=self.name, passed=False, message=message)
        return self._judge(opened, shares)

    def _selected(self, data_vars: tuple[DataVar, ...]) -> list[DataVar]:
        known = [data_var.name for data_var in data_vars]
        unknown = sorted({*(self.include or ()), *self.exclude} - set(known))
        if unknown:
            raise UnknownVariable(
                f"{self.name} is to look at {_quoted(unknown)}, which the dataset does not have; "
                f"it has {', '.join(sorted(known))}"
            )
        included = self.include
        if included is None:
            included = tuple(data_var.name for data_var in data_vars if data_var.source_fill_value is None)
        return [data_var for data_var in data_vars if data_var.name in included and data_var.name not in self.exclude]

    def _judge(self, opened: OpenedStore, shares: dict[str, dict[int, float]]) -> CheckResult:
        measured = [
            (share, recency, name) for name, by_recency in shares.items() for recency, share in by_recency.items()
        ]
        worst, _, worst_name = max(measured)
        over = sorted((m for m in measured if m[0] > self._allowed_at(m[1])), reverse=True)
        metadata: dict[str, float | int | str] = {
            "worst_nan_fraction": worst,
            "worst_variable": worst_name,
            "variables_over": len({name for _, _, name in over}),
            "variables_measured": len(shares),
        }
        if not over:
            message = f"at most {_percent(worst)} NaN ({worst_name!r}) in the newest labels of {opened.append_dim}"
            return CheckResult(name=self.name, passed=True, message=message, metadata=metadata)
        findings = [
            f"{name!r} has {_percent(share)} at {text_of(opened.labels[-1 - recency])} where "
            f"{_percent(self._allowed_at(recency))} is allowed"
            for share, recency, name in over
        ]
        message = (
            f"too much NaN in {metadata['variables_over']} of {len(shares)} variables: {listed(findings, '; ')}; "
            f"`reformat status {opened.dataset_id} --json` names the source files that are missing"
        )
        may_fill = all(recency == 0 and share < 1 for share, recency, _ in over)
        severity: Severity = "WARN" if may_fill else "ERROR"
        return CheckResult(name=self.name, passed=False, severity=severity, message=message, metadata=metadata)


class CheckValueRange(Validator):
    """Values of the newest label are physically possible, by the `valid_range` of each variable that has one.

    Sampled as by `CheckRecentNans`. A failure is a WARN: the packing, the units or the field upstream may have changed.
    """

    name: str = "value_range"
    sampled_chunks: int = Field(default=2, ge=1)
    """Columns of chunks read of each variable."""

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:  # noqa: ARG002
        bounded = [one for one in opened.data_vars if one.valid_range is not None and one.name in opened.ds]
        beyond: list[str] = []
        measured = 0
        for data_var in bounded if opened.labels.size else []:
            assert data_var.valid_range is not None
            low, high = data_var.valid_range
            lowest, highest = _extremes(opened, data_var, self.sampled_chunks)
            measured += not math.isnan(lowest)
            if lowest < low or highest > high:
                beyond.append(
                    f"{data_var.name!r} reaches from {lowest:.6g} to {highest:.6g} {data_var.units} where {low:.6g} to "
                    f"{high:.6g} is possible"
                )
        metadata: dict[str, float | int | str] = {"variables_beyond": len(beyond), "variables_measured": measured}
        if not beyond:
            message = (
                f"values of {measured} of {len(bounded)} variables are within what is possible, the others have none"
            )
            if measured == len(bounded):
                message = f"values of {measured} variables are within what is possible"
            return CheckResult(name=self.name, passed=True, message=message, metadata=metadata)
        message = (
            f"at {opened.append_dim} {text_of(opened.labels[-1])} {listed(beyond, '; ')}; compare with the source, whose "
            "packing or units may have changed"
        )
        return CheckResult(name=self.name, passed=False, severity="WARN", message=message, metadata=metadata)


class CheckExpectedShards(Validator):
    """Every shard of the published extent is stored.

    Empty shards are written too, so a missing object was never written. Not missed are shards that end before the source has
    their variable, and those of which the ledger says that the source has no file at all and nobody waits for one any more.
    Objects beyond the extent are of no concern: they wait for their metadata.
    """

    name: str = "expected_shards"

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:
        absent = [data_var.name for data_var in opened.data_vars if data_var.name not in opened.ds]
        expected, lacking = 0, dict[str, set[str]]()
        for data_var in opened.data_vars:
            if data_var.name not in absent:
                wanted = _wanted_shards(opened, data_var)
                expected += len(wanted)
                lacking[data_var.name] = wanted - opened.shard_keys(data_var.name)
        excused = _without_source(opened, lacking, now)
        missing = dict[frozenset[str], list[str]]()
        for name, keys in lacking.items():
            missing.setdefault(frozenset(keys - excused.get(name, set())), []).append(name)
        missing.pop(frozenset(), None)
        none_to_have = sum(map(len, excused.values()))
        metadata: dict[str, float | int | str] = {
            "shards_expected": expected,
            "shards_missing": sum(len(keys) * len(names) for keys, names in missing.items()),
            "shards_without_source": none_to_have,
            "variables_incomplete": len(absent) + sum(map(len, missing.values())),
        }
        remark = f"; {none_to_have} have none, since the source has no file of them" if none_to_have else ""
        if not absent and not missing:
            message = f"all {expected - none_to_have} shards are stored{remark}"
            return CheckResult(name=self.name, passed=True, message=message, metadata=metadata)
        message = _explain_missing(opened, absent, missing) + remark
        return CheckResult(name=self.name, passed=False, message=message, metadata=metadata)


def run_validators(validators: Sequence[Validator], opened: OpenedStore, now: Timestamp) -> list[CheckResult]:
    """Ask every validator, in order; one that breaks is a failed check and does not keep the others from answering.

    Those that need a ledger are left out where the store has none.
    """
    able = [validator for validator in validators if opened.ledger is not None or not validator.needs_ledger]
    return [_answer(validator, opened, now) for validator in able]


def _answer(validator: Validator, opened: OpenedStore, now: Timestamp) -> CheckResult:
    try:
        return validator.check(opened, now)
    except Exception as error:
        log.exception("check %s of %s broke", validator.name, opened.dataset_id)
        message = f"the check itself broke: {type(error).__name__}: {error}"
        return CheckResult(name=validator.name, passed=False, message=message)


def _nan_shares(opened: OpenedStore, data_var: DataVar, recencies: list[int], sampled_chunks: int) -> dict[int, float]:
    """Share of NaN by recency; empty where there was nothing to measure."""
    if data_var.name not in opened.ds or not recencies:
        return {}
    array = opened.ds[data_var.name]
    newest = opened.labels.size - 1
    recent = array.isel({opened.append_dim: [newest - recency for recency in recencies]})
    other_dims = [dim for dim in array.dims if dim != opened.append_dim]
    nans, values = np.zeros(len(recencies), dtype=np.int64), 0
    for column in sampled_columns(opened, array, sampled_chunks):
        block = recent.isel(column).load()
        if "lead_time" in block.dims and not data_var.has_hour_0:
            block = block.isel(lead_time=block.indexes["lead_time"] > Timedelta(0))
        nans += block.isnull().sum(other_dims).to_numpy()
        values += block.size // len(recencies)
    return {recency: int(count) / values for recency, count in zip(recencies, nans, strict=True)} if values else {}


def _extremes(opened: OpenedStore, data_var: DataVar, sampled_chunks: int) -> tuple[float, float]:
    """Least and most of the newest label; both NaN where nothing but NaN was found."""
    array = opened.ds[data_var.name]
    newest = array.isel({opened.append_dim: -1})
    blocks = [newest.isel(column).to_numpy() for column in sampled_columns(opened, array, sampled_chunks)]
    found = np.concatenate([block[~np.isnan(block)] for block in blocks])
    return (float(found.min()), float(found.max())) if found.size else (math.nan, math.nan)


def sampled_columns(opened: OpenedStore, array: xr.DataArray, most: int) -> Iterator[dict[str, slice]]:
    """Whole chunks along all dimensions but the append dimension and lead time; no global random state."""
    chunks = {str(dim): int(chunk) for dim, chunk in zip(array.dims, array.encoding["chunks"], strict=True)}
    for dim in (opened.append_dim, "lead_time"):
        chunks.pop(dim, None)
    columns = list(product(*(range(0, array.sizes[dim], chunk) for dim, chunk in chunks.items())))
    seed = f"{opened.dataset_id} {text_of(opened.labels[-1])} {array.name}"
    random = np.random.default_rng(zlib.crc32(seed.encode()))
    for drawn in random.choice(len(columns), min(most, len(columns)), replace=False):
        starts = columns[drawn]
        yield {dim: slice(at, at + chunk) for at, (dim, chunk) in zip(starts, chunks.items(), strict=True)}


def _wanted_shards(opened: OpenedStore, data_var: DataVar) -> set[str]:
    """Shards of a variable, without those that end before its source has it."""
    array, since = opened.ds[data_var.name], data_var.available_from
    if since is None or not opened.labels.size:
        return _expected_shards(array)
    first = int(opened.labels.searchsorted(since)) // _shard_shape(array)[0]
    return {key for key in _expected_shards(array) if _place_of(key) >= first}


def _without_source(opened: OpenedStore, lacking: dict[str, set[str]], now: Timestamp) -> dict[str, set[str]]:
    """Of missing shards, by variable, those that no run could have made; empty where there are too many for that."""
    places = {_place_of(key) for keys in lacking.values() for key in keys}
    if opened.ledger is None or len(places) > MOST_HOLES:
        return {}
    partitions = dict(enumerate(opened.shards()))
    given_up = {
        at: opened.ledger.entry_of(partitions[at][0])
        for at in places
        if now - partitions[at][-1] >= opened.ledger.give_up_age
    }
    return {
        name: {key for key in keys if _has_no_source(given_up.get(_place_of(key)), name)}
        for name, keys in lacking.items()
    }


def _has_no_source(entry: LedgerEntry | None, name: str) -> bool:
    coverage = entry.variables.get(name) if entry is not None else None
    return (
        coverage is not None
        and not coverage.succeeded
        and all(one.reason.startswith(SourceFileMissing.__name__) for one in coverage.missing)
    )


def _place_of(key: str) -> int:
    """Position of a shard along the append dimension, by its key."""
    return int(key.split("/")[1])


def _expected_shards(array: xr.DataArray) -> set[str]:
    counts = [math.ceil(size / shard) for size, shard in zip(array.shape, _shard_shape(array), strict=True)]
    return {"/".join(map(str, ("c", *place))) for place in product(*map(range, counts))}


def _shard_shape(array: xr.DataArray) -> tuple[int, ...]:
    return tuple(array.encoding.get("shards") or array.encoding["chunks"])


def _explain_missing(opened: OpenedStore, absent: list[str], missing: dict[frozenset[str], list[str]]) -> str:
    """Variables that lack the same shards are named together, those that lack most first."""
    backfill = f"reformat backfill {opened.dataset_id}"
    adding = f"{backfill} --overwrite-chunks --overwrite-metadata --variables {','.join(absent)}"
    findings = [f"not in the store: {_quoted(absent)}; `{adding}` adds them with their history"] if absent else []
    for keys, names in sorted(missing.items(), key=lambda item: (-len(item[0]), item[1]))[:4]:
        starts = [text_of(start) for start in _shard_starts(opened, names[0], keys)]
        findings.append(
            f"lacking {len(keys)} of {len(_expected_shards(opened.ds[names[0]]))} shards: {_quoted(names)}, "
            f"from {opened.append_dim} {listed(starts)}; "
            f"`{backfill} --contains {starts[0]} --overwrite-chunks` writes the first"
        )
    if len(missing) > 4:
        findings.append(f"{sum(map(len, missing.values()))} variables in all")
    return ". ".join(findings)


def _shard_starts(opened: OpenedStore, name: str, keys: frozenset[str]) -> list[Timestamp]:
    length = _shard_shape(opened.ds[name])[0]
    return [opened.labels[index * length] for index in sorted(set(map(_place_of, keys)))]


def _quoted(names: Sequence[str]) -> str:
    return listed([repr(name) for name in names])


def listed(words: Sequence[str], between: str = ", ", most: int = 4) -> str:
    """The first few of some words, and how many more there are."""
    shown = between.join(words[:most])
    return shown if len(words) <= most else f"{shown}{between}and {len(words) - most} more"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def text_of(time: Timestamp) -> str:
    """A label as checks write it."""
    return f"{time:%Y-%m-%dT%H:%M}"
