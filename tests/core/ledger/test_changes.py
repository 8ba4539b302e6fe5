"""What is read again of a published shard, and what is said of its files afterwards: each table row by row."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pandas as pd
import pytest

from reformatters_dagster.core.ledger.changes import Changed, PublishedShard, State, changed_positions
from reformatters_dagster.core.ledger.entries import LedgerEntry, MissingFile, OutdatedValue, VariableCoverage
from reformatters_dagster.core.ledger.judgement import Judgement, judge
from reformatters_dagster.core.ledger.progress import Outdated, Upload
from reformatters_dagster.core.source.files import FileResult, SourceFileCoord, SourceFileStatus
from reformatters_dagster.core.spec.values import OutLoc, Timestamp

LABELS = pd.date_range("2026-07-29T18", periods=10, freq="1h", unit="us")
REGION = range(2, 8)
LAST_KNOWN, AT = 6, 4
"""The ledger tells of all positions but the last. `AT` is what a row is about."""


class File(SourceFileCoord):
    at: int

    def key(self) -> str:
        return f"f{self.at:03d}"

    def get_url(self) -> str:
        return f"https://archive/{self.key()}"

    def out_loc(self) -> OutLoc:
        return {"time": LABELS[self.at]}


def shard(
    *missing: int, redo: Sequence[int] = (), outdated: Sequence[int] = (), retry_since: Timestamp | None = None
) -> PublishedShard:
    """A shard whose ledger lacks the files at some positions, and holds outdated values at others."""
    lost = tuple(
        MissingFile(file=File(at=at).key(), labels="", reason=f"late {at}", label=LABELS[at]) for at in missing
    )
    expected = LAST_KNOWN - REGION[0] + 1 + sum(at not in REGION for at in missing)
    coverage = VariableCoverage(
        expected=expected,
        succeeded=expected - len(lost),
        missing=lost,
        outdated=tuple(
            OutdatedValue(file=File(at=at).key(), labels="", reason="spoilt", waits_for="f009", label=LABELS[at])
            for at in outdated
        ),
        through=LABELS[LAST_KNOWN],
    )
    entry = LedgerEntry(
        partition="2026-07-29T20:00",
        dataset_id="test",
        version="0.1.0",
        region=(LABELS[REGION[0]], LABELS[LAST_KNOWN]),
        variables={"v": coverage},
        extent=(LABELS[0], LABELS[LAST_KNOWN]),
        template_hash="",
        code_version="",
        run_id="",
        written_at=LABELS[-1],
    )
    return PublishedShard(entry, frozenset(File(at=at).key() for at in redo), retry_since)


def upload(*used: int, doubtful: Sequence[int] = (), readable: bool = True) -> Upload:
    results = [result(at) for at in used]
    return Upload("run", True, results, frozenset(File(at=at).key() for at in doubtful), readable=readable)


def result(at: int, *, succeeded: bool = True) -> FileResult:
    status = SourceFileStatus.SUCCEEDED if succeeded else SourceFileStatus.READ_FAILED
    return FileResult(coord=File(at=at), archive="archive").advance(status, None if succeeded else "spoilt")


def changes(known: PublishedShard, unledgered: Upload | None = None, variable: str = "v") -> Changed | None:
    files = [(File(at=at).key(), at) for at in REGION]
    return changed_positions(known, variable, files, LABELS[: REGION.stop], unledgered)


@pytest.mark.parametrize(
    ("given_up", "is_missing", "is_new", "is_doubtful", "is_newer", "is_outdated", "lacks_beside"),
    list(product([False, True], repeat=7)),
)
def test_the_first_row_that_is_true_decides(
    *,
    given_up: bool,
    is_missing: bool,
    is_new: bool,
    is_doubtful: bool,
    is_newer: bool,
    is_outdated: bool,
    lacks_beside: bool,
) -> None:
    """All that can be known of a position, at the region's end so that a missing file beside it matters."""
    at = REGION[-1] if is_new else REGION[0]
    known = shard(
        *([at] if is_missing else []),
        *([0] if lacks_beside else []),
        redo=[at] if is_newer else [],
        outdated=[at] if is_outdated else [],
        retry_since=LABELS[-1] if given_up else None,
    )
    unledgered = upload(*REGION, doubtful=[at]) if is_doubtful else None
    changed = changes(known, unledgered)
    assert changed is not None
    rows = (
        (is_missing and given_up, State.GIVEN_UP),
        (is_missing or is_new or is_doubtful, State.LACKING),
        (is_newer or (is_outdated and not given_up) or lacks_beside, State.OUTDATED),
        (True, State.RIGHT),
    )
    state = next(state for holds, state in rows if holds)
    assert changed.state_at(at) is state
    assert (at in changed.to_read) == (state in {State.LACKING, State.OUTDATED})
    assert changed.outdated == ({File(at=at).key(): Outdated("f009", "spoilt")} if is_outdated else {})
    assert changed.reasons == ({at: f"late {at}"} if state is State.GIVEN_UP else {})


def test_an_outdated_value_of_an_upload_is_made_again() -> None:
    told = result(3).model_copy(update={"waits_for": "f005", "reason": "spoilt"})
    unledgered = Upload("run", True, [told, *map(result, (2, 4, 5, 6))])
    changed = changes(shard(), unledgered)
    assert changed is not None
    assert changed.state_at(3) is State.OUTDATED
    assert changed.outdated == {"f003": Outdated("f005", "spoilt")}
    assert unledgered.outdated == changed.outdated
    assert unledgered.lacking == frozenset(), "the shards hold a value all the same"


def test_what_a_whole_upload_has_used_stands_whatever_the_ledger_tells() -> None:
    """The ledger lacks one file, and does not tell of the last label. The upload lacks another, and has made one value anew."""
    known = shard(3, redo=[6], outdated=[4])
    whole = upload(2, 3, 4, 6, 7)
    changed = changes(known, whole)
    assert changed is not None
    assert [changed.state_at(at).name for at in REGION] == ["RIGHT", "RIGHT", "RIGHT", "LACKING", "OUTDATED", "RIGHT"]
    assert changed.outdated == {}
    begun = changes(known, replace(whole, finished=False))
    assert begun is not None
    assert [at for at in REGION if begun.state_at(at) is State.LACKING] == [3, 5, 7]
    assert (begun.state_at(4), list(begun.outdated)) == (State.OUTDATED, ["f004"])


def test_another_version_of_an_object_that_landed_late_is_read_again() -> None:
    """The ledger may tell of the newer one; where both are the same, or where nothing landed late, the value is right."""
    known = shard()
    etags = {File(at=at).key(): "told" for at in REGION if at != 5}
    known = replace(known, entry=known.entry.model_copy(update={"etags": etags}))
    results = [result(at).model_copy(update={"etag": "older" if at == 3 else "told"}) for at in REGION]
    late = Upload("run", False, results, is_late=True)
    for unledgered, doubtful in ((late, {3, 5}), (replace(late, is_late=False), set[int]())):
        changed = changes(known, unledgered)
        assert changed is not None
        assert {at for at in REGION if changed.state_at(at) is State.LACKING} - {REGION[-1]} == doubtful


@pytest.mark.parametrize(("beside", "is_outdated"), [(["f001"], True), (["f000"], False), ([], False)])
def test_a_newer_file_beside_the_region_outdates_its_ends(beside: list[str], is_outdated: bool) -> None:
    """If values of the region are made from it."""
    files = [(File(at=at).key(), at) for at in REGION]
    changed = changed_positions(shard(redo=[1]), "v", files, LABELS[: REGION.stop], None, beside)
    assert changed is not None
    assert changed.newer_beside == (frozenset({"f001"}) if is_outdated else frozenset())
    assert (changed.state_at(REGION[0]) is State.OUTDATED) == is_outdated


def test_other_positions_are_right_or_new() -> None:
    changed = changes(shard(AT))
    assert changed is not None
    assert changed.states == dict.fromkeys(REGION, State.RIGHT) | {AT: State.LACKING, 7: State.LACKING}


def test_an_upload_the_ledger_does_not_tell_of_leaves_in_doubt_what_it_did_not_use() -> None:
    changed = changes(shard(), upload(2, 3, 5, 6))
    assert changed is not None
    assert changed.to_read == {4, 7}


@pytest.mark.parametrize(
    ("known", "unledgered", "variable"),
    [
        (shard(), None, "another"),
        (shard(), upload(*REGION, readable=False), "v"),
        (
            PublishedShard(
                shard().entry.model_copy(update={"variables": {"v": VariableCoverage(expected=3, succeeded=3)}})
            ),
            None,
            "v",
        ),
    ],
    ids=["never written", "a note that cannot be read", "other files were wanted"],
)
def test_a_shard_that_the_ledger_does_not_tell_of_is_made_anew(
    known: PublishedShard, unledgered: Upload | None, variable: str
) -> None:
    assert changes(known, unledgered, variable) is None


def test_a_shard_that_may_hold_files_that_the_ledger_lacks_is_made_anew() -> None:
    known = shard(3)
    coverage = known.entry.variables["v"]
    (lost,) = coverage.missing
    lost = lost.model_copy(update={"reason": "LedgerUnreadable: the published shard may hold this file"})
    told = {"v": coverage.model_copy(update={"missing": (lost,)})}
    assert changes(replace(known, entry=known.entry.model_copy(update={"variables": told}))) is None


def judged(state: State, own: bool | None, *, neighbour_fails: bool) -> Judgement:
    """What is said of `AT` in a state, when its file succeeded, failed or was not read."""
    read = [] if own is None else [(AT, result(AT, succeeded=own))]
    if neighbour_fails:
        read.append((AT + 1, result(AT + 1, succeeded=False)))
    changed = Changed({AT: state}, {AT: "late"} if state is State.GIVEN_UP else {})
    return judge({File(at=AT): AT}, changed, read, lambda key: f"etag of {key}", 1, REGION)


AS_READ = result(AT)
FAILED = result(AT, succeeded=False)
AS_PUBLISHED = FileResult(coord=File(at=AT), etag="etag of f004").advance(SourceFileStatus.SUCCEEDED)
NO_RESULT = FileResult(coord=File(at=AT), was_tried=False)
SPOILT = AS_READ.model_copy(
    update={
        "status": SourceFileStatus.READ_FAILED,
        "reason": "its neighbour f005 was used before and failed now: spoilt",
        "waits_for": "f005",
    }
)


KEPT_FOR_NOW = AS_PUBLISHED.model_copy(
    update={"waits_for": "f005", "reason": "f005 was used before and failed now: spoilt"}
)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("own", [None, True, False])
@pytest.mark.parametrize("neighbour_fails", [False, True])
def test_what_is_said_of_a_file(state: State, own: bool | None, neighbour_fails: bool) -> None:
    found = judged(state, own, neighbour_fails=neighbour_fails)
    held = state in {State.RIGHT, State.OUTDATED}
    endangered = neighbour_fails or (held and own is False)
    rows = (
        (
            not held and own is None,
            NO_RESULT.advance(SourceFileStatus.DOWNLOAD_FAILED, "late" if state is State.GIVEN_UP else None),
        ),
        (not held and own is False, FAILED),
        (not held and not endangered, AS_READ),
        (not held, SPOILT),
        (state is State.OUTDATED and own is True and not endangered, AS_READ),
        (state is State.OUTDATED and own is True, KEPT_FOR_NOW),
        (True, AS_PUBLISHED),
    )
    assert found.results == [next(said for holds, said in rows if holds)]
    assert found.withheld == ({AT} if state is State.RIGHT or (held and endangered) else set())


@pytest.mark.parametrize(("steps", "endangered"), [(1, True), (2, False)])
def test_a_neighbour_endangers_as_far_as_the_variable_reaches(steps: int, endangered: bool) -> None:
    changed, read = Changed({AT: State.OUTDATED}), [(AT + steps, result(AT + steps, succeeded=False))]
    found = judge({File(at=AT): AT}, changed, read, lambda _: None, 1, REGION)
    assert found.withheld == ({AT} if endangered else set())


def test_a_neighbour_that_was_lacking_before_endangers_nothing() -> None:
    changed = Changed({AT: State.LACKING, AT + 1: State.LACKING})
    read = [(AT, result(AT)), (AT + 1, result(AT + 1, succeeded=False))]
    found = judge({File(at=at): at for at in (AT, AT + 1)}, changed, read, lambda _: None, 1, REGION)
    assert [one.succeeded for one in found.results] == [True, False]
    assert found.withheld == set()


def test_a_file_beside_the_region_that_is_still_missing_is_told_of() -> None:
    beside = result(0, succeeded=False)
    changed = Changed({AT: State.RIGHT}, missing_beside=frozenset({beside.coord.key()}))
    found = judge({File(at=AT): AT}, changed, [(0, beside)], lambda _: None, 1, REGION)
    assert [one.coord.key() for one in found.results] == ["f000", "f004"]


# Values that are kept, and outdated


def in_version(one: FileResult, version: str | None) -> FileResult:
    """The same file as it was read from the archive in a version; the one that is known of it is `known`."""
    etag = f"etag of {one.coord.key()}" if version == "known" else version
    return one.model_copy(update={"etag": etag})


NEWS = State.LACKING


@pytest.mark.parametrize("version", ["known", "another", None])
@pytest.mark.parametrize("reach", [0, 1])
def test_a_value_whose_file_was_read_in_another_version_stays(version: str | None, reach: int) -> None:
    """An archive that is asked in the place of the usual one may be behind. What is new beside it is made, and made again."""
    changed = Changed({AT: State.RIGHT, AT + 1: NEWS})
    read = [(AT, in_version(result(AT), version)), (AT + 1, in_version(result(AT + 1), "new"))]
    coords = {File(at=at): at for at in (AT, AT + 1)}
    found = judge(coords, changed, read, lambda key: f"etag of {key}", reach, REGION)
    kept, new = found.results
    assert (kept.succeeded, kept.etag, kept.was_read) == (True, "etag of f004", False)
    assert (new.succeeded, new.etag, new.was_read) == (True, "new", True)
    is_other = reach == 1 and version != "known"
    assert found.withheld == ({AT} if is_other or reach == 0 else set())
    assert [one.waits_for for one in found.results] == (["f004", "f004"] if is_other else [None, None])
    if is_other:
        assert kept.reason == new.reason == "f004 was read in another version than before, from 'archive'"


def test_where_the_version_before_is_not_known_another_is_none() -> None:
    changed, coords = Changed({AT: State.RIGHT, AT + 1: NEWS}), {File(at=at): at for at in (AT, AT + 1)}
    read = [(at, in_version(result(at), "any")) for at in (AT, AT + 1)]
    found = judge(coords, changed, read, lambda _: "", 1, REGION)
    assert (set(found.withheld), [one.is_outdated for one in found.results]) == (set(), [False, False])


@pytest.mark.parametrize("is_listed", [False, True])
def test_a_newer_version_of_a_file_beside_the_region_is_taken_where_it_is_listed(*, is_listed: bool) -> None:
    beside, first = REGION[0] - 1, REGION[0]
    ends = {first: State.OUTDATED if is_listed else NEWS}
    changed = Changed(ends, newer_beside=frozenset({File(at=beside).key()} if is_listed else ()))
    read = [(at, in_version(result(at), "newer")) for at in (beside, first)]
    (told,) = judge({File(at=first): first}, changed, read, lambda key: f"etag of {key}", 1, REGION).results
    assert told.waits_for == (None if is_listed else "f001")


def judged_at(states: dict[int, State], failed: int, **fields: Any) -> list[FileResult]:
    """What is said of the region's files when all but one of the changed ones and their neighbours succeeded."""
    changed = Changed(states, **fields)
    read = [(at, result(at, succeeded=at != failed)) for at in range(REGION[0] - 1, REGION.stop)]
    read = [(at, in_version(one, None if changed.state_at(at) is not State.RIGHT else "known")) for at, one in read]
    found = judge({File(at=at): at for at in REGION}, changed, read, lambda key: f"etag of {key}", 1, REGION)
    return [one for one in found.results if one.is_outdated]


@pytest.mark.parametrize("state", [State.LACKING, State.GIVEN_UP, State.OUTDATED])
def test_a_kept_value_beside_something_new_is_outdated(state: State) -> None:
    (kept,) = judged_at({AT: state}, AT + 2)
    assert kept.coord == File(at=AT + 1)
    assert (kept.succeeded, kept.was_read, kept.etag) == (True, False, "etag of f005")
    assert (kept.waits_for, kept.reason) == ("f006", "f006 was used before and failed now: spoilt")


@pytest.mark.parametrize("state", [State.LACKING, State.GIVEN_UP])
def test_what_does_not_count_outdates_nothing(state: State) -> None:
    """The file beside it fails itself, or fails since its own value cannot be made."""
    assert judged_at({AT: state}, AT) == []
    assert judged_at({AT: state}, AT + 1) == []


@pytest.mark.parametrize("state", [State.LACKING, State.GIVEN_UP])
def test_a_value_that_was_not_made_waits_for_the_neighbour_that_failed(state: State) -> None:
    read = [(AT, result(AT)), (AT + 1, result(AT + 1, succeeded=False))]
    (lost,) = judge({File(at=AT): AT}, Changed({AT: state}), read, lambda _: None, 1, REGION).results
    assert (lost.succeeded, lost.is_outdated, lost.waits_for) == (False, False, "f005")


def test_a_value_whose_file_was_published_again_is_outdated_until_it_is_made() -> None:
    """Unless that file is spoilt: then the value is that of the version whose ETag is known."""
    (kept,) = judged_at({AT: State.OUTDATED}, AT + 1)
    assert (kept.coord, kept.etag, kept.waits_for) == (File(at=AT), "etag of f004", "f005")
    assert judged_at({AT: State.OUTDATED}, AT) == []


def refused(at: int) -> FileResult:
    reason = "SourceFileUnavailable: throttled"
    return FileResult(coord=File(at=at)).advance(SourceFileStatus.DOWNLOAD_FAILED, reason)


def test_a_value_whose_file_was_published_again_and_is_refused_is_outdated() -> None:
    found = judge({File(at=AT): AT}, Changed({AT: State.OUTDATED}), [(AT, refused(AT))], lambda _: None, 1, REGION)
    assert [one.waits_for for one in found.results] == ["f004"]
    assert judge(
        {File(at=AT): AT}, Changed({AT: State.RIGHT}), [(AT, refused(AT))], lambda _: None, 1, REGION
    ).results == [FileResult(coord=File(at=AT)).advance(SourceFileStatus.SUCCEEDED)]


@pytest.mark.parametrize(("beside", "outdated"), [(refused(1), ["f002"]), (result(1, succeeded=False), [])])
def test_a_file_beside_the_region_that_was_published_again_is_waited_for_while_it_is_refused(
    beside: FileResult, outdated: list[str]
) -> None:
    at = REGION[0]
    changed = Changed({at: State.OUTDATED}, newer_beside=frozenset({"f001"}))
    read = [(1, beside), (at, result(at).model_copy(update={"etag": "same"}))]
    found = judge({File(at=at): at}, changed, read, lambda _: "same", 1, REGION)
    assert [one.coord.key() for one in found.results if one.is_outdated] == outdated


def test_a_file_read_again_in_the_same_version_outdates_nothing() -> None:
    changed = Changed({AT: State.OUTDATED})
    same = result(AT).model_copy(update={"etag": "same"})
    read = [(AT, same), (AT + 2, result(AT + 2, succeeded=False))]
    found = judge({File(at=at): at for at in REGION}, changed, read, lambda _: "same", 1, REGION)
    assert not any(one.is_outdated for one in found.results)


def test_a_file_that_was_missing_beside_the_region_outdates_its_end() -> None:
    ends = {REGION[0]: State.OUTDATED, REGION[-1]: State.OUTDATED}
    (kept,) = judged_at(ends, REGION[0] + 1, missing_beside=frozenset({"f001"}))
    assert (kept.coord, kept.waits_for) == (File(at=REGION[0]), "f003")


KNOWN = {"f004": Outdated("f009", "spoilt")}


@pytest.mark.parametrize(
    ("state", "made", "failed", "waits_for"),
    [
        (State.OUTDATED, REGION, None, None),
        (State.OUTDATED, REGION, AT + 1, "f005"),
        (State.RIGHT, range(0), None, "f009"),
        (State.RIGHT, REGION, None, None),
        (State.RIGHT, REGION, AT + 1, "f005"),
    ],
    ids=["made", "kept again", "not made", "made beside another", "kept beside another"],
)
def test_an_outdated_value_is_told_of_until_it_is_made(
    state: State, made: range, failed: int | None, waits_for: str | None
) -> None:
    changed = Changed({AT: state}, outdated=KNOWN)
    read = [(at, result(at, succeeded=at != failed)) for at in (AT - 1, AT, AT + 1)]
    (said,) = judge({File(at=AT): AT}, changed, read, lambda _: None, 1, made).results
    assert said.succeeded
    assert said.waits_for == waits_for


# Positions that were given up, and are read for the sake of others


@pytest.mark.parametrize(("made", "counts"), [(REGION, True), (range(AT + 1, REGION.stop), False)])
def test_a_file_that_was_given_up_counts_only_where_its_values_are_made(made: range, counts: bool) -> None:
    changed = Changed({AT: State.GIVEN_UP}, {AT: "late"})
    found = judge({File(at=AT): AT}, changed, [(AT, result(AT))], lambda _: None, 1, made)
    still_missing = NO_RESULT.advance(SourceFileStatus.DOWNLOAD_FAILED, "late")
    assert found.results == [AS_READ if counts else still_missing]
    assert found.withheld == (set() if counts else {AT})
