"""Whether every shard of the published extent is stored, as a check.

In: a published store, its ledger, and the time. Out: a CheckResult. It lists keys and reads no chunk.
"""

import xarray as xr

from reformatters_dagster.core.check.opened import OpenedStore, shard_shape
from reformatters_dagster.core.check.validators import CheckResult, Validator
from reformatters_dagster.core.check.wording import listed, quoted, text_of
from reformatters_dagster.core.ledger.entries import LedgerEntry
from reformatters_dagster.core.spec.errors import SourceFileMissing
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.variables import DataVar
from reformatters_dagster.core.spec.zarr_documents import shard_keys

MOST_HOLES = 100
MOST_TOLD = 4
"""How many groups of variables a message tells of."""


class CheckExpectedShards(Validator):
    """Every shard of the published extent is stored.

    Runs write empty shards too, so a missing object was never written. Two kinds of shards may be missing:

    - a shard that ends before the source has its variable;
    - a shard past the give-up age for which, by the ledger, the source has no file at all.

    Objects beyond the extent are ignored: they wait for their metadata.
    """

    name: str = "expected_shards"
    most_holes: int = MOST_HOLES
    """How many partitions with missing shards are looked up in the ledger, one request each. Where there are more, none is."""

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:
        absent = [data_var.name for data_var in opened.data_vars if data_var.name not in opened.ds]
        expected, lacking = 0, dict[str, set[str]]()
        for data_var in opened.data_vars:
            if data_var.name not in absent:
                wanted = _wanted_shards(opened, data_var)
                expected += len(wanted)
                lacking[data_var.name] = wanted - opened.shard_keys(data_var.name)
        excused = _without_source(opened, lacking, now, self.most_holes)
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
        remark = f"; {none_to_have} more have no source file" if none_to_have else ""
        if not absent and not missing:
            message = f"all {expected - none_to_have} shards are stored{remark}"
            return CheckResult(name=self.name, passed=True, message=message, metadata=metadata)
        message = _explain_missing(opened, absent, missing) + remark
        return CheckResult(name=self.name, passed=False, message=message, metadata=metadata)


def _wanted_shards(opened: OpenedStore, data_var: DataVar) -> set[str]:
    """Keys of a variable's shards, without those that end before the source has the variable."""
    array, since = opened.ds[data_var.name], data_var.available_from
    if since is None or not opened.labels.size:
        return _expected_shards(array)
    first = int(opened.labels.searchsorted(since)) // shard_shape(array)[0]
    return {key for key in _expected_shards(array) if _place_of(key) >= first}


def _without_source(
    opened: OpenedStore, lacking: dict[str, set[str]], now: Timestamp, most_holes: int
) -> dict[str, set[str]]:
    """Missing shards, by variable, that no run could make; empty where more than `most_holes` partitions have missing shards."""
    places = {_place_of(key) for keys in lacking.values() for key in keys}
    if opened.ledger is None or len(places) > most_holes:
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
    return shard_keys(array.shape, shard_shape(array))


def _explain_missing(opened: OpenedStore, absent: list[str], missing: dict[frozenset[str], list[str]]) -> str:
    """What is missing and how to write it. Variables that lack the same shards stand together; the most shards come first."""
    backfill = f"reformat backfill {opened.dataset_id}"
    adding = f"{backfill} --overwrite-chunks --overwrite-metadata --variables {','.join(absent)}"
    findings = [f"not in the store: {quoted(absent)}; `{adding}` adds them with their history"] if absent else []
    for keys, names in sorted(missing.items(), key=lambda item: (-len(item[0]), item[1]))[:MOST_TOLD]:
        starts = [text_of(start) for start in _shard_starts(opened, names[0], keys)]
        findings.append(
            f"lacking {len(keys)} of {len(_expected_shards(opened.ds[names[0]]))} shards: {quoted(names)}, "
            f"from {opened.append_dim} {listed(starts)}; "
            f"`{backfill} --contains {starts[0]} --overwrite-chunks` writes the first"
        )
    if len(missing) > MOST_TOLD:
        findings.append(f"{sum(map(len, missing.values()))} variables in all")
    return ". ".join(findings)


def _shard_starts(opened: OpenedStore, name: str, keys: frozenset[str]) -> list[Timestamp]:
    length = shard_shape(opened.ds[name])[0]
    return [opened.labels[index * length] for index in sorted(set(map(_place_of, keys)))]
