"""What to say of every file of a region after a run that read only some of them.

In: the state of every position before the run, and what became of the files that were read. Out: one result for each file of
the region, and the positions that keep their published value.

A value depends on its neighbours: a rate is the difference of two totals, and a single missing step is filled from the steps
beside it. So a file that cannot be read any more can spoil the values beside it. A position is *endangered* when a file
within the variable's `reach`, its own included, failed in this run although the published shard holds a value made from it.

===================  ===========  ==========  ==============================================================
state before         file now     endangered  the file's result
===================  ===========  ==========  ==============================================================
LACKING or GIVEN_UP  not read     -           still missing, for the reason that the ledger has
LACKING or GIVEN_UP  failed       -           failed, for the reason it has now
LACKING or GIVEN_UP  succeeded    no          succeeded
LACKING or GIVEN_UP  succeeded    yes         failed: the value is made without that neighbour
OUTDATED             succeeded    no          succeeded
OUTDATED or RIGHT    -            yes         as published: the position keeps its value, and its ETag
RIGHT                -            no          as published
===================  ===========  ==========  ==============================================================
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reformatters_dagster.core.ledger.changes import Changed, State
from reformatters_dagster.core.source.files import FileResult, SourceFileCoord, SourceFileStatus


@dataclass(frozen=True)
class Judgement:
    """What a run says of a variable."""

    results: Sequence[FileResult]
    """Of every file of the region. Files beside the region that are still missing come before them."""
    withheld: frozenset[int] = frozenset()
    """Positions that keep their published values."""


def judge[Coord: SourceFileCoord](
    coords: Mapping[Coord, int],
    changed: Changed,
    read: Sequence[tuple[int, FileResult]],
    etag: Callable[[str], str | None],
    reach: int,
) -> Judgement:
    """Join what was read with what the ledger knows of the rest.

    Parameters
    ----------
    coords : mapping of coord to position
        Every file of the region.
    changed : Changed
        Of the variable, before the run.
    read : sequence of (int, FileResult)
        Files that were read, with their positions. Those of neighbouring steps lie outside the region.
    etag : callable
        The ledger's ETag of a key.
    reach : int
        How many steps away a file can be that the variable's value depends on.
    """
    lost = {at: result for at, result in read if not result.succeeded and changed.state_at(at).holds_value}
    found = {result.coord: result for _, result in read}
    results = [result for _, result in read if not result.succeeded and result.coord.key() in changed.missing_beside]
    withheld: set[int] = set()
    for coord, position in coords.items():
        state, own = changed.state_at(position), found.get(coord)
        danger = next((lost[at] for at in range(position - reach, position + reach + 1) if at in lost), None)
        if not state.holds_value:
            results.append(_of_no_value(coord, own, danger, changed.reasons.get(position)))
        elif state is State.OUTDATED and own is not None and danger is None:
            results.append(own)
        else:
            results.append(FileResult(coord=coord, etag=etag(coord.key())).advance(SourceFileStatus.SUCCEEDED))
            withheld |= {position} if danger is not None else set()
    return Judgement(results, frozenset(withheld))


def _of_no_value(
    coord: SourceFileCoord, own: FileResult | None, danger: FileResult | None, reason: str | None
) -> FileResult:
    """The result of a file whose value the published shard does not hold."""
    if own is None:
        return FileResult(coord=coord, was_tried=False).advance(SourceFileStatus.DOWNLOAD_FAILED, reason)
    if danger is None or not own.succeeded:
        return own
    failed = f"its neighbour {danger.coord.key()} was used before and failed now: {danger.reason}"
    return own.model_copy(update={"status": SourceFileStatus.READ_FAILED, "reason": failed})
