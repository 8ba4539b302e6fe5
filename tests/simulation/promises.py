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

from reformatters_dagster.core.ledger import entries
from reformatters_dagster.core.ledger.entries import LedgerEntry
from reformatters_dagster.core.spec.partition import partition_key
from tests.simulation import reader
from tests.simulation.dataset import INSTANT, RATE, SHARD, VARIABLES, key_of, label_at
from tests.simulation.objects import Bucket
from tests.simulation.weather import Upstream, instant, place_in_window, rate

NAMES = {
    "extent never shrinks": "readers see every label that they saw before",
    "torn reads are of their label": "a read that an upload tears fails, or gives values that were published for their labels",
    "ledger never goes back": "no run replaces the entry of a later one",
    "ledger is true": "a published label has the values that the ledger claims, of the versions that it names",
    "everything is published": "after calm, readers see every label up to the newest usable file",
    "store is truth": "after calm, the store holds what the files say",
    "ledger is complete": "after calm, the ledger lacks no file that can be used and is not given up",
    "replicas are equal": "after calm, every replica holds what the primary holds",
    "nothing is left": "after calm, there are no leases, notes or marks",
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
    """One partition as the ledger has it."""

    entry: LedgerEntry

    def claims(self, variable: str, position: int) -> bool:
        """Whether a variable is said to have the file of a position."""
        coverage = self.entry.variables.get(variable)
        if coverage is None or label_at(position) > (coverage.through or self.entry.region[1]):
            return False
        return all(one.file != key_of(position) for one in coverage.missing)

    def says_outdated(self, variable: str, position: int) -> bool:
        """Whether the value at a position is said to be made without files that are used beside it."""
        coverage = self.entry.variables.get(variable)
        return coverage is not None and any(one.file == key_of(position) for one in coverage.outdated)

    def versions(self, position: int) -> set[int]:
        """Versions of the file of a position that were used; empty where the ledger does not say."""
        etags = self.entry.etags.get(key_of(position), "")
        return {int(number) for number in re.findall(r'-(\d+)"', etags)}


def known(internal: Bucket, shard: int) -> Known | None:
    """What the ledger says of a shard."""
    found = internal.objects.get(f"ledger/{partition_key(label_at(shard * SHARD))}.json")
    return None if found is None else _parsed(found[0])


@lru_cache(maxsize=1024)
def _parsed(entry: bytes) -> Known:
    return Known(entries._from_json(json.loads(entry)))


def written_at(internal: Bucket, key: str) -> str | None:
    """When an entry of the ledger was written, as its run says; None for a run by hand, which says when it began."""
    entry = json.loads(internal.objects[key][0])
    return None if str(entry["run_id"]).startswith("update-by-hand") else str(entry["written_at"])


def ledger_is_true(primary: Bucket, internal: Bucket, upstream: Upstream, shard: int) -> Iterator[str]:
    """Compare every claim about a shard with what readers see there. No run may be writing it."""
    found = known(internal, shard)
    if found is None:
        return
    end = min(reader.extent(primary), (shard + 1) * SHARD)
    for variable in VARIABLES:
        note = f"progress/{found.entry.partition}/{variable}.json"
        values = reader.shard_values(primary, variable, shard)
        if values is None or note in internal.objects or _has_lost(primary, variable, shard):
            continue
        for position in range(shard * SHARD, end):
            if found.claims(variable, position) and not found.says_outdated(variable, position):
                wanted = _values(variable, position, partial(_versions, internal, upstream, shard, variable))
                if (wrong := _differs(values[position % SHARD], wanted)) is not None:
                    yield f"{variable} at {position}: {wrong}"


def _versions(internal: Bucket, upstream: Upstream, shard: int, variable: str, position: int) -> set[int | None]:
    """Versions of a file that values of a shard can be made from; None for no file."""
    found, own = known(internal, position // SHARD), position // SHARD == shard
    whole = [version.number for version in upstream.history.get(position, ()) if version.state == "whole"]
    if found is None or not own or not found.claims(variable, position):
        return {None, *whole}
    claimed, current = found.versions(position), upstream.files.get(position)
    if not claimed:
        return {*whole}
    if current is not None and {current.number} == claimed:
        return {*claimed}
    return {*claimed, *(number for number in whole if number >= min(claimed))}


def _values(variable: str, position: int, versions: Callable[[int], Collection[int | None]]) -> list[float]:
    """The values that a position can hold, by the versions that each file can be of."""
    own = versions(position)
    if variable == INSTANT:
        return [np.nan if one is None else instant(position, one) for one in own]
    assert variable == RATE
    if position == 0:
        return [np.nan]
    before = versions(position - 1) if place_in_window(position) > 1 else {0}
    return [np.nan if None in {one, two} else rate(position, one or 0, two or 0) for one in own for two in before]


def _differs(found: npt.NDArray[np.float32], wanted: list[float]) -> str | None:
    """How the points of one label differ from all the values they can have; None where they all have one of these."""
    values: list[float] = found.ravel().tolist()
    if any(all(map(partial(_is_same, one), values)) for one in wanted):
        return None
    return f"found {sorted(set(values))}, wanted one of {wanted}"


def _is_same(one: float, other: float) -> bool:
    return isclose(one, other, rel_tol=1e-5) or (isnan(one) and isnan(other))


def publishable_end(upstream: Upstream, awaited: Callable[[int], bool]) -> int:
    """Labels that readers can be shown: a shard whose last file is awaited holds back the shards after it.

    A label whose rate can never be made, since the file before it has vanished, may wait for the next one.
    """
    usable = {position for position in upstream.files if upstream.usable(position)}
    vanished = upstream.history.keys() - upstream.files.keys()
    newest = max((one for one in usable if one - 1 not in vanished), default=-1)
    for shard in range(newest // SHARD):
        last = (shard + 1) * SHARD - 1
        if last not in usable and awaited(shard):
            return max((one for one in usable if one < last), default=-1) + 1
    return newest + 1


def truth_after_calm(
    primary: Bucket, internal: Bucket, upstream: Upstream, awaited: Callable[[int], bool]
) -> Iterator[tuple[str, str]]:
    """Compare store and ledger with what the files say: promise and example of each difference.

    Parameters
    ----------
    awaited : callable
        Whether the files of a shard are not given up yet.
    """
    end, extent = publishable_end(upstream, awaited), reader.extent(primary)
    if extent < end and awaited((end - 1) // SHARD) and not _is_held_up(primary, internal, upstream, extent):
        yield "everything is published", f"readers see {extent} labels; there are usable files of {end}"

    for shard in range(-(-extent // SHARD)):
        if awaited(shard):
            found, positions = known(internal, shard), range(shard * SHARD, min(extent, (shard + 1) * SHARD))
            for variable in VARIABLES:
                yield from _truth_of(primary, internal, upstream, found, variable, positions)


def _truth_of(
    primary: Bucket, internal: Bucket, upstream: Upstream, found: Known | None, variable: str, positions: range
) -> Iterator[tuple[str, str]]:
    """As `truth_after_calm`, of one variable of one shard."""
    shard = positions.start // SHARD
    if found is not None and _is_stuck(primary, upstream, found, variable, positions):
        return
    values = None if _has_lost(primary, variable, shard) else reader.shard_values(primary, variable, shard)
    for position in positions:
        if variable == RATE and found is not None and _is_beside_vanished(found, upstream, position):
            continue
        if upstream.usable(position) and not (found and found.claims(variable, position)):
            yield "ledger is complete", f"{variable} lacks {key_of(position)}, which can be used"
        if found is not None and found.says_outdated(variable, position):
            yield "ledger is complete", f"{variable} at {position} is outdated, and its files can be used"
        wanted = _values(variable, position, partial(_best, found, upstream, variable))
        if values is not None and (wrong := _differs(values[position % SHARD], wanted)) is not None:
            yield "store is truth", f"{variable} at {position}: {wrong}"


def _whole(upstream: Upstream, position: int) -> set[int | None]:
    """Every version of a file that could be used."""
    return {version.number for version in upstream.history.get(position, ()) if version.state == "whole"}


def _best(found: Known | None, upstream: Upstream, variable: str, position: int) -> set[int | None]:
    """The version of a file that can be used, or was used for a shard before it vanished."""
    now, is_claimed = upstream.usable(position), found is not None and found.claims(variable, position)
    versions = found.versions(position) if found is not None and is_claimed else set()
    # Versions of two archives cannot be compared: what was read from the other one stays.
    if is_claimed and upstream.has_copies and (now is None or not versions):
        return _whole(upstream, position)
    if now is not None:
        return {now.number}
    return {*versions} if is_claimed else {None}


def _is_held_up(primary: Bucket, internal: Bucket, upstream: Upstream, extent: int) -> bool:
    """Whether the shard that is published next can be continued for no variable: it waits for a forced run."""
    shard = extent // SHARD
    found, positions = known(internal, shard), range(shard * SHARD, extent)
    return found is not None and all(_is_stuck(primary, upstream, found, name, positions) for name in VARIABLES)


def _is_stuck(primary: Bucket, upstream: Upstream, found: Known, variable: str, positions: range) -> bool:
    """Whether a shard can neither be continued, since an object of it is lost, nor made anew, since a file is."""
    lost = _has_lost(primary, variable, positions.start // SHARD)
    return lost and any(found.claims(variable, one) and not upstream.usable(one) for one in positions)


def _is_beside_vanished(found: Known, upstream: Upstream, position: int) -> bool:
    """Whether a file that a rate may be made from was used, and has been taken back: to read it again fails for good."""
    beside = range(position - 2, position + 2)  # where the rate before cannot be made, its file does not count as used
    return any(found.claims(RATE, one) and not upstream.usable(one) for one in beside)


def _has_lost(primary: Bucket, variable: str, shard: int) -> bool:
    """Whether an object of a shard has vanished: checks find that, runs do not."""
    return any(key.startswith(f"{variable}/c/{shard}/") for key in primary.lost)


def is_shard(key: str) -> bool:
    """Whether an object holds data."""
    name, chunks, _ = key.partition("/c/")
    return bool(chunks) and name in VARIABLES
