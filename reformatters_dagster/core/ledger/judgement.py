"""What to say of every file of a region after a run that read only some of them.

In: the state of every position before the run, and what became of the files that were read. Out: one result for each file of
the region, and the positions that keep their published value.

A value depends on its neighbours: a rate is the difference of two totals, and a single missing step is filled from the steps
beside it. So a file that cannot be read any more can spoil the values beside it. A position is *endangered* when a file
within the variable's `reach`, its own included, failed in this run although the published shard holds a value made from it.

A position within whose reach nothing is read anew keeps its value, though it may be read for the sake of another variable.
So does one within whose reach a file of a RIGHT position was read in *another version* than the ledger names: an archive that
is asked in the place of the usual one may be behind it.

A position that was given up is read only where it lies beside others that are. When its file succeeds, it counts only if
this run makes the position's value and all that depend on it; otherwise it is as if it were not read.

===================  ===========  ==========  ==============================================================
state before         file now     endangered  the file's result
===================  ===========  ==========  ==============================================================
LACKING or GIVEN_UP  not read     -           still missing, for the reason that the ledger has
LACKING or GIVEN_UP  failed       -           failed, for the reason it has now
LACKING or GIVEN_UP  succeeded    no          succeeded
LACKING or GIVEN_UP  succeeded    yes         failed: the value is made without that neighbour, and waits for it
OUTDATED             succeeded    no          succeeded
OUTDATED or RIGHT    -            yes         as published: the position keeps its value, and its ETag
RIGHT                -            no          as published
===================  ===========  ==========  ==============================================================

A value that is kept can be *outdated*: a file within reach gave something new in this run, which is told as succeeded; or
its own file was published again, and was read in vain or refused; or it was outdated before and is not made now. So is a value
that is made now, if a file that it is made from was read in another version than the ledger names. Its file's
result says so, and names the file that it waits for. Without that the ledger would call a partition complete that holds
values made without files it counts. A file that was published again and is spoilt outdates nothing: the value stays that of
the version whose ETag the ledger has.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from reformatters_dagster.core.ledger.changes import Changed, State
from reformatters_dagster.core.ledger.progress import Outdated
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
    made: Collection[int],
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
    made : collection of int
        Positions whose value this run makes, and every value of the region that depends on their file.
    """
    evidence = _Evidence(changed, read, etag, reach, made)
    found = {result.coord: result for _, result in read}
    results = [result for _, result in read if not result.succeeded and result.coord.key() in changed.missing_beside]
    withheld: set[int] = set()
    for coord, position in coords.items():
        state, own, danger = changed.state_at(position), found.get(coord), evidence.danger_at(position)
        if state is State.GIVEN_UP and own is not None and own.succeeded and position not in made:
            own = None
            withheld.add(position)
        if not state.holds_value:
            results.append(evidence.told(_of_no_value(coord, own, danger, changed.reasons.get(position)), position))
        elif state is State.OUTDATED and own is not None and danger is None:
            results.append(evidence.told(own, position))
        else:
            published = FileResult(coord=coord, etag=etag(coord.key())).advance(SourceFileStatus.SUCCEEDED)
            why = evidence.why_outdated(coord.key(), position)
            update = {} if why is None else {"waits_for": why.waits_for, "reason": why.reason}
            results.append(published.model_copy(update=update))
            if danger is not None or not evidence.may_be_made(position):
                withheld.add(position)
    return Judgement(results, frozenset(withheld))


class _Evidence:
    """What a run found out about the files of a variable."""

    def __init__(
        self,
        changed: Changed,
        read: Sequence[tuple[int, FileResult]],
        etag: Callable[[str], str | None],
        reach: int,
        made: Collection[int],
    ) -> None:
        self._changed, self._reach, self._made = changed, reach, made
        self._lost = {at: one for at, one in read if not one.succeeded and changed.state_at(at).holds_value}
        self._news = {at for at, one in read if self._is_news(at, one, etag(one.coord.key()))}
        self._untaken = {at for at, one in read if self._is_untaken(at, one, etag(one.coord.key()))}
        self._others = {at: one for at, one in read if self._is_other(at, one, etag(one.coord.key()))}

    def may_be_made(self, position: int) -> bool:
        """Whether anything is read anew that the value at a position may depend on, and all else in the version it had."""
        if self._other_at(position) is not None:
            return False
        return any(self._changed.state_at(at) is not State.RIGHT for at in self._within_reach(position))

    def told(self, result: FileResult, position: int) -> FileResult:
        """The result of a position whose value is made now. It is outdated if another version of a file went into it."""
        other = self._other_at(position)
        if other is None or not result.succeeded:
            return result
        return result.model_copy(update={"waits_for": other.coord.key(), "reason": _of_another_version(other)})

    def danger_at(self, position: int) -> FileResult | None:
        """A file that failed, and that the published value at a position was made from."""
        return next((self._lost[at] for at in self._within_reach(position) if at in self._lost), None)

    def why_outdated(self, key: str, position: int) -> Outdated | None:
        """Why the value at a position is outdated after the run; None where it is not."""
        danger, other = self.danger_at(position), self._other_at(position)
        before = self._changed.outdated.get(key)
        if danger is None and other is None:
            return None if position in self._made else before
        if before is None and position not in self._untaken and self._news.isdisjoint(self._within_reach(position)):
            return None
        if danger is not None:
            return Outdated(danger.coord.key(), _failed_now(danger))
        assert other is not None
        return Outdated(other.coord.key(), _of_another_version(other))

    def _other_at(self, position: int) -> FileResult | None:
        """A file of another version that the value at a position may depend on."""
        return next((self._others[at] for at in self._within_reach(position) if at in self._others), None)

    def _is_other(self, position: int, result: FileResult, known: str | None) -> bool:
        """Whether a file was read in another version than the one that is known, and that values were made from."""
        if not known or not result.succeeded or result.etag == known:
            return False
        is_new = result.coord.key() in self._changed.newer_beside
        return not is_new and self._changed.state_at(position) is State.RIGHT

    def _is_news(self, position: int, result: FileResult, known: str | None) -> bool:
        """Whether a file counts as succeeded from now on, and gave what no value was made from before.

        So does one beside the region that was published again, and refused: values within its reach wait for it.
        """
        if result.coord.key() in self._changed.newer_beside:
            return result.succeeded or result.was_refused
        if result.coord.key() in self._changed.missing_beside:
            return result.succeeded
        if not result.succeeded:
            return False
        match self._changed.state_at(position):
            case State.RIGHT:
                return False
            case State.OUTDATED if result.etag == known:
                return False
            case State.GIVEN_UP if position not in self._made:
                return False
        return self.danger_at(position) is None

    def _is_untaken(self, position: int, result: FileResult, known: str | None) -> bool:
        """Whether a file has another version than the one its value was made from, and some archive may give it later."""
        if self._changed.state_at(position) is not State.OUTDATED:
            return False
        return result.was_refused or (result.succeeded and result.etag != known)

    def _within_reach(self, position: int) -> range:
        return range(position - self._reach, position + self._reach + 1)


def _of_no_value(
    coord: SourceFileCoord, own: FileResult | None, danger: FileResult | None, reason: str | None
) -> FileResult:
    """The result of a file whose value the published shard does not hold."""
    if own is None:
        return FileResult(coord=coord, was_tried=False).advance(SourceFileStatus.DOWNLOAD_FAILED, reason)
    if danger is None or not own.succeeded:
        return own
    failed = {"status": SourceFileStatus.READ_FAILED, "reason": f"its neighbour {_failed_now(danger)}"}
    return own.model_copy(update={**failed, "waits_for": danger.coord.key()})


def _of_another_version(other: FileResult) -> str:
    return f"{other.coord.key()} was read in another version than before, from {other.archive!r}"


def _failed_now(lost: FileResult) -> str:
    return f"{lost.coord.key()} was used before and failed now: {lost.reason}"
