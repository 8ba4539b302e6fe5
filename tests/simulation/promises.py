"""What must hold of a deployment, each promise with a name.

In: what the stores hold, and what the upstream holds and held. Out: the promises that are broken, by name, each with one example.

Truth is computed from the files alone. A file that the ledger claims, and that was published again since, may have been read in
the newer version too: the next look at the upstream sees that, and the partition is run again.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from math import isclose, isnan

import numpy as np
import numpy.typing as npt
import pandas as pd

from reformatters_dagster.core.ledger import entries
from reformatters_dagster.core.ledger.entries import LedgerEntry
from reformatters_dagster.core.spec.partition import partition_key
from tests.simulation import reader
from tests.simulation.dataset import INSTANT, RATE, VARIABLES
from tests.simulation.layouts import Layout
from tests.simulation.objects import Bucket
from tests.simulation.weather import Upstream, instant, rate

NAMES = {
    "extent never shrinks": "readers see every label that they saw before",
    "torn reads are of their label": "a read that an upload tears fails, or gives values that were published for their labels",
    "ledger never goes back": "no run replaces the entry of a later one",
    "ledger is true": "a published label has the values that the ledger claims, of the versions that it names",
    "everything is published": "after calm, readers see every label up to that of the newest usable file",
    "store is truth": "after calm, the store holds what the files say",
    "ledger is complete": "after calm, the ledger lacks no file that can be used and is not given up",
    "replicas are equal": "after calm, and one more update where one was left out, every replica holds what the primary holds",
    "nothing is left": "then there are no leases, notes or marks",
    "launches end": "after calm, sensors launch nothing more",
    "errors are named": "a run ends well, or with an error of this project",
}


@dataclass(frozen=True)
class Broken:
    """A promise that does not hold."""

    promise: str
    at: float
    detail: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.detail}"


@dataclass(frozen=True)
class Known:
    """One partition as the ledger has it. Files go by their numbers."""

    entry: LedgerEntry
    layout: Layout

    def claims(self, variable: str, file: int) -> bool:
        """Whether a variable is said to have a file."""
        coverage = self.entry.variables.get(variable)
        if coverage is None or self.layout.label_of(file) > (coverage.through or self.entry.region[1]):
            return False
        return all(one.file != self.layout.key_of(file) for one in coverage.missing)

    def awaited_at(self, variable: str, file: int) -> str | None:
        """The key of a file that the value at another's place is said to be made without, though that one is used."""
        coverage = self.entry.variables.get(variable)
        outdated = () if coverage is None else coverage.outdated
        return next((one.waits_for for one in outdated if one.file == self.layout.key_of(file)), None)

    def is_waited_for(self, file: int) -> bool:
        """Whether a value of some variable waits for a file that was used before."""
        coverages = self.entry.variables.values()
        missing = {one.waits_for for known in coverages for one in known.missing}
        return self.layout.key_of(file) in missing | {one.waits_for for known in coverages for one in known.outdated}

    def versions(self, file: int) -> set[int]:
        """Versions of a file that were used; empty where the ledger does not say, or not of all."""
        etags = self.entry.etags.get(self.layout.key_of(file), "")
        if "unknown" in etags:
            return set()
        return {int(number) for number in re.findall(r'-(\d+)"', etags)}


def known(internal: Bucket, layout: Layout, shard: int) -> Known | None:
    """What the ledger says of a shard."""
    found = internal.objects.get(f"ledger/{partition_key(layout.first_of(shard))}.json")
    return None if found is None else Known(_parsed(found[0]), layout)


@lru_cache(maxsize=1024)
def _parsed(entry: bytes) -> LedgerEntry:
    return entries._from_json(json.loads(entry))


def extent(primary: Bucket, layout: Layout) -> int:
    """Files whose places readers see."""
    return reader.extent(primary) * layout.leads


def shards(primary: Bucket, layout: Layout) -> range:
    """Shards that readers see, in whole or in part."""
    return range(-(-extent(primary, layout) // layout.shard))


def values_of(primary: Bucket, layout: Layout, variable: str, shard: int) -> npt.NDArray[np.float32] | None:
    """(file, y, x) of a shard; None where the store has no such variable."""
    values = reader.shard_values(primary, variable, shard)
    return None if values is None else values.reshape(layout.shard, *values.shape[-2:])


def written_at(internal: Bucket, key: str) -> str | None:
    """When an entry of the ledger was written, as its run says; None for a run by hand, which says when it began."""
    entry = json.loads(internal.objects[key][0])
    return None if str(entry["run_id"]).startswith("update-by-hand") else str(entry["written_at"])


def ledger_is_true(primary: Bucket, internal: Bucket, upstream: Upstream, shard: int) -> Iterator[str]:
    """Compare every claim about a shard with what readers see there. No run may be writing it."""
    layout = upstream.layout
    found = known(internal, layout, shard)
    if found is None:
        return
    end = min(extent(primary, layout), (shard + 1) * layout.shard)
    for variable in VARIABLES:
        note = f"progress/{found.entry.partition}/{variable}.json"
        values = values_of(primary, layout, variable, shard)
        if values is None or note in internal.objects or _has_lost(primary, variable, shard):
            continue
        for file in range(shard * layout.shard, end):
            if found.claims(variable, file) and found.awaited_at(variable, file) is None:
                wanted = _values(layout, variable, file, partial(_versions, internal, upstream, shard, variable))
                # Where the file before is lacking no value is claimed: objects of a run that was killed may hold it, or not.
                objects = [values[file % layout.shard]]
                if _is_beside_lacking(found, variable, file):
                    objects = list(objects[0].ravel())
                for one in objects:
                    if (wrong := _differs(one, wanted)) is not None:
                        yield f"{variable} at {file}: {wrong}"
                        break


def looked_at(primary: Bucket, internal: Bucket, upstream: Upstream, shard: int) -> object:
    """All that `ledger_is_true` looks at, by its versions: as long as it is the same, so is what is found."""
    layout = upstream.layout
    objects = tuple(f"{variable}/c/{shard}/" for variable in VARIABLES)
    partition = partition_key(layout.first_of(shard))
    notes = f"ledger/{partition}.json", f"progress/{partition}/"
    return (
        primary.objects[reader.ROOT][1],
        [(key, etag) for key, (_, etag) in primary.objects.items() if key.startswith(objects)],
        sorted(key for key in primary.lost if key.startswith(objects)),
        [(key, etag) for key, (_, etag) in internal.objects.items() if key.startswith(notes)],
        [upstream.changes[file] for file in range(shard * layout.shard - 1, (shard + 1) * layout.shard)],
    )


def _is_beside_lacking(found: Known, variable: str, file: int) -> bool:
    """Whether the ledger lacks a file of the same shard that a value is made from, beside its own."""
    before = found.layout.before(file) if variable == RATE else None
    return (
        before is not None
        and before // found.layout.shard == file // found.layout.shard
        and not found.claims(variable, before)
    )


def _versions(internal: Bucket, upstream: Upstream, shard: int, variable: str, file: int) -> set[int | None]:
    """Versions of a file that values of a shard can be made from; None for no file."""
    length = upstream.layout.shard
    found, own = known(internal, upstream.layout, file // length), file // length == shard
    whole = [version.number for version in upstream.history.get(file, ()) if version.state == "whole"]
    if found is None or not own or not found.claims(variable, file):
        return {None, *whole}
    claimed, current = found.versions(file), upstream.files.get(file)
    if not claimed:
        return {*whole}
    if current is not None and {current.number} == claimed:
        return {*claimed}
    return {*claimed, *(number for number in whole if number >= min(claimed))}


def _values(layout: Layout, variable: str, file: int, versions: Callable[[int], Collection[int | None]]) -> list[float]:
    """The values that the place of a file can hold, by the versions that each file can be of."""
    if variable == INSTANT:
        return [np.nan if one is None else instant(file, one) for one in versions(file)]
    assert variable == RATE
    if not layout.has_rate(file):
        return [np.nan]
    own, beside = versions(file), layout.before(file)
    before = {0} if beside is None else versions(beside)
    return [np.nan if None in {one, two} else rate(one or 0, two) for one in own for two in before]


def _differs(found: npt.NDArray[np.float32], wanted: list[float]) -> str | None:
    """How the points of one label differ from all the values they can have; None where they all have one of these."""
    values: list[float] = found.ravel().tolist()
    if any(all(map(partial(_is_same, one), values)) for one in wanted):
        return None
    return f"found {sorted(set(values))}, wanted one of {wanted}"


def _is_same(one: float, other: float) -> bool:
    return isclose(one, other, rel_tol=1e-5) or (isnan(one) and isnan(other))


def publishable_end(upstream: Upstream, awaited: Callable[[int], bool]) -> int:
    """Files up to whose places readers can be shown.

    A label whose rate can never be made, since the file before it has vanished, may wait for the next one. A shard of many labels
    whose last label is awaited holds back the shards after it until it is given up. A label of its own shard can be shown once
    both variables have a value of it; before that it holds back the next ones until it is given up.
    """
    layout, usable = upstream.layout, {file for file in upstream.files if upstream.usable(file)}
    if not layout.continues:
        end = 0
        for shard in range(layout.files // layout.shard):
            files = range(shard * layout.shard, (shard + 1) * layout.shard)
            if any(usable.issuperset(_needed(layout, file)) for file in files if layout.has_rate(file)):
                end = files.stop
            elif awaited(shard):
                break
        return end
    vanished = upstream.history.keys() - upstream.files.keys()
    whole = {file for file in usable if file - 1 not in vanished}
    newest = max(whole, default=-1)
    for shard in range(newest // layout.shard):
        last = (shard + 1) * layout.shard - 1
        if last not in whole and awaited(shard):
            return max((one for one in whole if one < last), default=-1) + 1
    return newest + 1


def _needed(layout: Layout, file: int) -> set[int]:
    """Files that a rate is made from."""
    before = layout.before(file)
    return {file} if before is None else {before, file}


def truth_after_calm(
    primary: Bucket, internal: Bucket, upstream: Upstream, awaited: Callable[[int], bool]
) -> Iterator[tuple[str, str]]:
    """Compare store and ledger with what the files say: promise and example of each difference.

    Parameters
    ----------
    awaited : callable
        Whether the files of a shard are not given up yet.
    """
    layout = upstream.layout
    end, shown = publishable_end(upstream, awaited), extent(primary, layout)
    if shown < end and awaited((end - 1) // layout.shard) and not _is_held_up(primary, internal, upstream, shown):
        yield "everything is published", f"readers see the places of {shown} files; there are usable ones of {end}"

    for shard in shards(primary, layout):
        if awaited(shard):
            files = range(shard * layout.shard, min(shown, (shard + 1) * layout.shard))
            for variable in VARIABLES:
                found = known(internal, layout, shard)
                if found is None or not _is_stuck(primary, internal, upstream, found, variable, files):
                    yield from _truth_of(primary, upstream, found, variable, files)


def left_behind(primary: Bucket, internal: Bucket, upstream: Upstream) -> Iterator[str]:
    """Leases, notes and marks, but for notes of variables that wait for a forced run."""
    waiting = {
        f"progress/{partition_key(upstream.layout.first_of(shard))}/{variable}.json"
        for shard in shards(primary, upstream.layout)
        for variable in stuck(primary, internal, upstream, shard)
    }
    for folder in ("lease", "progress", "degraded", "filling"):
        yield from (key for key in internal.below(folder) if key not in waiting)


def stuck(primary: Bucket, internal: Bucket, upstream: Upstream, shard: int) -> list[str]:
    """Variables of a shard that wait for a forced run: they must be made anew, and a file that they have has vanished."""
    layout, found = upstream.layout, known(internal, upstream.layout, shard)
    files = range(shard * layout.shard, min(extent(primary, layout), (shard + 1) * layout.shard))
    return [
        name for name in VARIABLES if found is not None and _is_stuck(primary, internal, upstream, found, name, files)
    ]


def _truth_of(
    primary: Bucket, upstream: Upstream, found: Known | None, variable: str, files: range
) -> Iterator[tuple[str, str]]:
    """As `truth_after_calm`, of one variable of one shard."""
    layout = upstream.layout
    shard = files.start // layout.shard
    values = None if _has_lost(primary, variable, shard) else values_of(primary, layout, variable, shard)
    for file in files:
        if variable == RATE and found is not None and _is_beside_vanished(found, upstream, file):
            continue
        if upstream.usable(file) and not (found and found.claims(variable, file)):
            yield "ledger is complete", f"{variable} lacks {layout.key_of(file)}, which can be used"
        awaited = None if found is None else found.awaited_at(variable, file)
        if awaited is not None and _can_be_used(upstream, awaited):
            yield "ledger is complete", f"{variable} at {file} is outdated, and {awaited} can be used"
        wanted = _values(layout, variable, file, partial(_best, found, upstream, variable))
        if values is not None and (wrong := _differs(values[file % layout.shard], wanted)) is not None:
            yield "store is truth", f"{variable} at {file}: {wrong}"


def _can_be_used(upstream: Upstream, key: str) -> bool:
    return any(upstream.layout.key_of(file) == key and upstream.usable(file) for file in upstream.files)


def _whole(upstream: Upstream, file: int) -> set[int | None]:
    """Every version of a file that could be used."""
    return {version.number for version in upstream.history.get(file, ()) if version.state == "whole"}


def _best(found: Known | None, upstream: Upstream, variable: str, file: int) -> set[int | None]:
    """The version of a file that can be used, or was used for a shard before it vanished.

    Of two versions that variables were made from, the earlier is told: one variable waits for the later one then.
    """
    now, is_claimed = upstream.usable(file), found is not None and found.claims(variable, file)
    versions = found.versions(file) if found is not None and is_claimed else set()
    # Versions of two archives cannot be compared: what was read from the other one stays.
    if is_claimed and upstream.has_copies and (now is None or not versions):
        return _whole(upstream, file)
    if now is not None:
        return {now.number}
    if found is None or not is_claimed:
        return {None}
    if not versions or not found.is_waited_for(file):
        return {*versions}
    return {*versions, *(one for one in _whole(upstream, file) if one is not None and one >= min(versions))}


def _is_held_up(primary: Bucket, internal: Bucket, upstream: Upstream, shown: int) -> bool:
    """Whether the shard that is published next can be continued for no variable: it waits for a forced run."""
    shard = shown // upstream.layout.shard
    found, files = known(internal, upstream.layout, shard), range(shard * upstream.layout.shard, shown)
    return found is not None and all(_is_stuck(primary, internal, upstream, found, name, files) for name in VARIABLES)


def _is_stuck(primary: Bucket, internal: Bucket, upstream: Upstream, found: Known, variable: str, files: range) -> bool:
    """Whether a shard must be made anew, and cannot: a file of it has vanished. It is continued unless an object is lost."""
    layout = upstream.layout
    must_be_made_anew = not layout.continues or _has_lost(primary, variable, files.start // layout.shard)
    uploaded = set() if layout.continues else _uploaded(internal, found, variable)
    held = {file for file in files if found.claims(variable, file)} | uploaded
    if variable == RATE and layout.continues and (first := layout.before(files.start)) is not None:
        held |= {first} if found.versions(first) else set()
    return must_be_made_anew and not all(map(upstream.usable, held))


def _uploaded(internal: Bucket, found: Known, variable: str) -> set[int]:
    """Files that uploads have used which no run has accounted for, and that the shard holds for certain."""
    stored = internal.objects.get(f"progress/{found.entry.partition}/{variable}.json")
    if stored is None:
        return set()
    note = json.loads(stored[0])
    settled = set(note.get("settled", ()))
    results = [
        result
        for result in note["results"]
        if note["finished"] or found.layout.key_of(_file_of(found.layout, result["coord"])) in settled
    ]
    coords = [result["coord"] for result in results if result["status"] == "Succeeded"]
    return {_file_of(found.layout, one) for one in coords}


def _file_of(layout: Layout, coord: dict[str, str]) -> int:
    return layout.file_of(pd.Timestamp(coord["init_time"]), pd.Timedelta(coord["lead_time"]))


def waits_in_vain(internal: Bucket, upstream: Upstream, shard: int) -> bool:
    """Whether a rate of a shard is lacking or outdated, and a file beside it that was used cannot be used any more."""
    found, files = (
        known(internal, upstream.layout, shard),
        range(shard * upstream.layout.shard, (shard + 1) * upstream.layout.shard),
    )
    return found is not None and any(
        (not found.claims(RATE, file) or found.awaited_at(RATE, file) is not None)
        and _is_beside_vanished(found, upstream, file)
        for file in files
    )


def _is_beside_vanished(found: Known, upstream: Upstream, file: int) -> bool:
    """Whether a file that a rate may be made from was used, and cannot be used any more: to read it again fails for good."""
    beside = range(file - 2, file + 2)  # where the rate before cannot be made, its file does not count as used
    return any(found.claims(RATE, one) and not upstream.usable(one) for one in beside)


def _has_lost(primary: Bucket, variable: str, shard: int) -> bool:
    """Whether an object of a shard has vanished: checks find that, runs do not."""
    return any(key.startswith(f"{variable}/c/{shard}/") for key in primary.lost)


def is_shard(key: str) -> bool:
    """Whether an object holds data."""
    name, chunks, _ = key.partition("/c/")
    return bool(chunks) and name in VARIABLES
