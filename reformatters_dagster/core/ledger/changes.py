"""Which part of a published shard is computed anew, and what may be said of the rest.

In: the ledger's word on a partition, and the files its region wants. Out: stretches of the append dimension to read and to
write, and the results of every file of the region.

A value depends on its neighbours: a rate is the difference of two totals, and a single missing step is filled from the
steps beside it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from reformatters_dagster.core.ledger.entries import LedgerEntry
from reformatters_dagster.core.ledger.progress import Upload
from reformatters_dagster.core.source.files import FileResult, SourceFileCoord, SourceFileStatus
from reformatters_dagster.core.spec.values import Timestamp


@dataclass(frozen=True)
class PublishedShard:
    """What the final store holds of a partition, as far as the ledger tells."""

    entry: LedgerEntry
    redo: frozenset[str] = frozenset()
    """Keys of source files that have been published again since."""
    retry_since: Timestamp | None = None
    """Files of earlier labels that are missing are no longer tried; None tries all."""


@dataclass(frozen=True)
class Changed:
    """Positions of a region whose value for one variable is not in the published shard, or no longer right."""

    lacking: frozenset[int]
    """Those the shard holds no value of."""
    again: frozenset[int]
    """Those it holds a value of whose file has been published again."""
    settled: Mapping[int, str]
    """Of the lacking ones, those that are not tried again, and why they are lacking."""
    of_buffer: frozenset[str] = frozenset()
    """Keys of files around the region that are lacking: values at its ends are made from them."""

    @property
    def to_read(self) -> frozenset[int]:
        return (self.lacking - self.settled.keys()) | self.again


@dataclass(frozen=True)
class Stretch:
    """Positions of the append dimension that are computed together."""

    read: slice
    write: slice
    """Those of `read` whose values go into the shard."""


def changed_positions[Coord: SourceFileCoord](
    known: PublishedShard,
    variable: str,
    coords: Mapping[Coord, int],
    labels: pd.DatetimeIndex,
    upload: Upload | None = None,
) -> Changed | None:
    """What of a region is to be read for one variable, since the published shard does not have it.

    Parameters
    ----------
    coords : mapping of coord to position
        Every file of the region.
    labels : DatetimeIndex
        Of the append dimension, up to the region's last.
    upload : Upload, optional
        One that the ledger does not tell of: what it may have replaced is lacking too.

    Returns
    -------
    Changed or None
        None when the ledger does not tell: never written, or written over another extent than it says.
    """
    coverage = known.entry.variables.get(variable)
    if coverage is None or (upload is not None and not upload.readable):
        return None
    through = coverage.through or known.entry.region[1]
    last_known = int(labels.searchsorted(through, side="right")) - 1
    # A shard may hold more than a backfill is about: labels that readers do not see yet.
    lost = {one.file: one for one in coverage.missing if one.label is None or one.label <= labels[-1]}
    keys = {coord: coord.key() for coord in coords} if lost or known.redo or upload is not None else {}
    of_buffer = lost.keys() - keys.values()
    before = sum(position <= last_known for position in coords.values())
    if through <= labels[-1] and coverage.expected != before + len(of_buffer):
        return None
    missing = {position: lost[keys[coord]] for coord, position in coords.items() if keys.get(coord) in lost}
    lacking = {position for position in coords.values() if position > last_known} | missing.keys()
    if upload is not None:
        lacking |= {position for coord, position in coords.items() if keys[coord] not in upload.used - upload.doubtful}
    again = {position for coord, position in coords.items() if keys.get(coord) in known.redo} - lacking
    if of_buffer:
        again |= {min(coords.values()), max(coords.values())} - lacking
    since = known.retry_since
    settled = {
        position: one.reason
        for position, one in missing.items()
        if since is not None and one.label is not None and one.label < since
    }
    return Changed(frozenset(lacking), frozenset(again), settled, frozenset(of_buffer))


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
    changed: Changed,
    read: Sequence[tuple[int, FileResult]],
    etag: Callable[[str], str | None],
    steps: int,
) -> Judgement:
    """Join what was read with what the ledger knows of the rest.

    A file that was used before and cannot be read any more takes nothing from what is published: positions near it keep their
    values, and so does one whose file was published again. One that is new there is not counted as succeeded, since its value
    lacks that neighbour.

    Parameters
    ----------
    coords : mapping of coord to position
        Every file of the region.
    changed : Changed
        Of the variable.
    read : sequence of (int, FileResult)
        Files that were read, with their positions; those of neighbouring steps lie outside the region.
    etag : callable
        The ledger's ETag of a key.
    steps : int
        The variable's `reach`.
    """
    lost = {position: result for position, result in read if not result.succeeded and position not in changed.lacking}
    found = {result.coord: result for _, result in read}
    results = [result for _, result in read if not result.succeeded and result.coord.key() in changed.of_buffer]
    withheld: set[int] = set()
    for coord, position in coords.items():
        near = next((lost[at] for at in range(position - steps, position + steps + 1) if at in lost), None)
        result = found.get(coord)
        if position in changed.lacking:
            results.append(_of_lacking(coord, result, near, changed.settled.get(position)))
        elif position in changed.again and result is not None and near is None:
            results.append(result)
        else:
            results.append(FileResult(coord=coord, etag=etag(coord.key())).advance(SourceFileStatus.SUCCEEDED))
            withheld |= {position} if near is not None else set()
    return Judgement(results, frozenset(withheld))


def _of_lacking(
    coord: SourceFileCoord, result: FileResult | None, near: FileResult | None, settled: str | None
) -> FileResult:
    """What became of a file whose value the published shard does not hold."""
    if result is None:
        return FileResult(coord=coord, was_tried=False).advance(SourceFileStatus.DOWNLOAD_FAILED, settled)
    if near is None or not result.succeeded:
        return result
    reason = f"its neighbour {near.coord.key()} was used before and failed now: {near.reason}"
    return result.model_copy(update={"status": SourceFileStatus.READ_FAILED, "reason": reason})
