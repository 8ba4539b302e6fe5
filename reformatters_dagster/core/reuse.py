"""Which part of a published shard is computed anew, and what may be said of the rest.

In: the ledger's word on a partition, and the files its region wants. Out: stretches of the append dimension to read and to
write, and the results of every file of the region.

A value depends on its neighbours: a rate is the difference of two totals, and a single missing step is filled from the
steps beside it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from reformatters_dagster.core.config import DataVar
from reformatters_dagster.core.ledger import LedgerEntry
from reformatters_dagster.core.source_file import FileResult, SourceFileCoord, SourceFileStatus


@dataclass(frozen=True)
class PublishedShard:
    """What the final store holds of a partition, as far as the ledger tells."""

    entry: LedgerEntry
    redo: frozenset[str] = frozenset()
    """Keys of source files that have been published again since."""


@dataclass(frozen=True)
class Stretch:
    """Positions of the append dimension that are computed together."""

    read: slice
    write: slice
    """Those of `read` whose values go into the shard."""


def changed_positions[Coord: SourceFileCoord](
    known: PublishedShard, data_var: DataVar, coords: Mapping[Coord, int], last_known: int
) -> set[int] | None:
    """Positions of a region whose value for one variable is not in the published shard, or no longer right.

    Parameters
    ----------
    coords : mapping of coord to position
        Every file of the region.
    last_known : int
        Position of the last label of the ledger's entry.

    Returns
    -------
    set of int, or None
        None when the ledger does not tell: never written, made by another recipe, or over another extent than the entry's.
    """
    coverage = known.entry.variables.get(data_var.name)
    if coverage is None or coverage.recipe != data_var.recipe:
        return None
    missing = {lost.file for lost in coverage.missing}
    keys = {coord: coord.key() for coord in coords} if missing or known.redo else {}
    of_buffer = missing - {*keys.values()}
    before = sum(position <= last_known for position in coords.values())
    if coverage.expected != before + len(of_buffer):
        return None
    redo = missing | known.redo
    changed = {position for coord, position in coords.items() if position > last_known or keys.get(coord) in redo}
    return changed | ({min(coords.values()), max(coords.values())} if of_buffer else set())


def cut_stretches(changed: Collection[int], region: slice, processing: slice, steps: int) -> list[Stretch]:
    """Stretches that hold every changed position and all that depends on it, with what it depends on read too.

    Parameters
    ----------
    changed : collection of int
        Positions within the region.
    region, processing : slice
        The shard's positions, and the ones that may be read.
    steps : int
        The longest `reach` of the variables.
    """
    found: list[Stretch] = []
    for position in sorted(changed):
        write = slice(max(position - steps, region.start), min(position + steps + 1, region.stop))
        read = slice(max(write.start - steps, processing.start), min(write.stop + steps, processing.stop))
        if found and read.start <= found[-1].read.stop:
            before = found.pop()
            write, read = slice(before.write.start, write.stop), slice(before.read.start, read.stop)
        found.append(Stretch(read=read, write=write))
    return found


@dataclass(frozen=True)
class Judgement:
    """What is to be said of a region's files after a run that read only some of them."""

    results: Sequence[FileResult]
    withheld: frozenset[int]
    """Positions that keep their published values, since a file they are made from can no longer be read."""


def judge[Coord: SourceFileCoord](
    coords: Mapping[Coord, int],
    changed: Collection[int],
    read: Sequence[tuple[int, FileResult]],
    etag: Callable[[str], str | None],
    steps: int,
) -> Judgement:
    """Join what was read with what the ledger knows of the rest.

    A file that was used before and cannot be read any more takes nothing from what is published: positions near it keep their
    values. One that is new there is not counted as succeeded, since its value lacks that neighbour.

    Parameters
    ----------
    coords : mapping of coord to position
        Every file of the region.
    changed : collection of int
        As `changed_positions` gives it.
    read : sequence of (int, FileResult)
        Files that were read, with their positions; those of the buffer lie outside the region.
    etag : callable
        The ledger's ETag of a key.
    steps : int
        The variable's `reach`.
    """
    anew = set(changed)
    lost = {position: result for position, result in read if not result.succeeded and position not in anew}
    found = {result.coord: result for _, result in read}
    results: list[FileResult] = []
    withheld: set[int] = set()
    for coord, position in coords.items():
        near = next((lost[at] for at in range(position - steps, position + steps + 1) if at in lost), None)
        if position not in anew:
            results.append(FileResult(coord=coord, etag=etag(coord.key())).advance(SourceFileStatus.SUCCEEDED))
            withheld |= {position} if near is not None else set()
        elif near is not None and found[coord].succeeded:
            reason = f"its neighbour {near.coord.key()} was used before and failed now: {near.reason}"
            results.append(found[coord].model_copy(update={"status": SourceFileStatus.READ_FAILED, "reason": reason}))
        else:
            results.append(found[coord])
    return Judgement(results, frozenset(withheld))
