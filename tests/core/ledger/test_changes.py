"""What is read again of a published shard, and what is said of its files afterwards: each table row by row."""

from collections.abc import Sequence
from itertools import product

import pandas as pd
import pytest

from reformatters_dagster.core.ledger.changes import Changed, PublishedShard, State, changed_positions
from reformatters_dagster.core.ledger.entries import LedgerEntry, MissingFile, VariableCoverage
from reformatters_dagster.core.ledger.judgement import Judgement, judge
from reformatters_dagster.core.ledger.progress import Upload
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


def shard(*missing: int, redo: Sequence[int] = (), retry_since: Timestamp | None = None) -> PublishedShard:
    """A shard whose ledger lacks the files at some positions."""
    lost = tuple(
        MissingFile(file=File(at=at).key(), labels="", reason=f"late {at}", label=LABELS[at]) for at in missing
    )
    expected = LAST_KNOWN - REGION[0] + 1 + sum(at not in REGION for at in missing)
    coverage = VariableCoverage(
        expected=expected, succeeded=expected - len(lost), missing=lost, through=LABELS[LAST_KNOWN]
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
    return Upload("run", True, results, frozenset(File(at=at).key() for at in doubtful), readable)


def result(at: int, *, succeeded: bool = True) -> FileResult:
    status = SourceFileStatus.SUCCEEDED if succeeded else SourceFileStatus.READ_FAILED
    return FileResult(coord=File(at=at), archive="archive").advance(status, None if succeeded else "spoilt")


def changes(known: PublishedShard, unledgered: Upload | None = None, variable: str = "v") -> Changed | None:
    files = [(File(at=at).key(), at) for at in REGION]
    return changed_positions(known, variable, files, LABELS[: REGION.stop], unledgered)


@pytest.mark.parametrize(
    ("given_up", "is_missing", "is_new", "is_doubtful", "is_newer", "lacks_beside"),
    list(product([False, True], repeat=6)),
)
def test_the_first_row_that_is_true_decides(
    *, given_up: bool, is_missing: bool, is_new: bool, is_doubtful: bool, is_newer: bool, lacks_beside: bool
) -> None:
    """All that can be known of a position, at the region's end so that a missing file beside it matters."""
    at = REGION[-1] if is_new else REGION[0]
    known = shard(
        *([at] if is_missing else []),
        *([0] if lacks_beside else []),
        redo=[at] if is_newer else [],
        retry_since=LABELS[-1] if given_up else None,
    )
    unledgered = upload(*REGION, doubtful=[at]) if is_doubtful else None
    changed = changes(known, unledgered)
    assert changed is not None
    rows = (
        (is_missing and given_up, State.GIVEN_UP),
        (is_missing or is_new or is_doubtful, State.LACKING),
        (is_newer or lacks_beside, State.OUTDATED),
        (True, State.RIGHT),
    )
    state = next(state for holds, state in rows if holds)
    assert changed.state_at(at) is state
    assert (at in changed.to_read) == (state in {State.LACKING, State.OUTDATED})
    assert changed.reasons == ({at: f"late {at}"} if state is State.GIVEN_UP else {})


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


def judged(state: State, own: bool | None, *, neighbour_fails: bool) -> Judgement:
    """What is said of `AT` in a state, when its file succeeded, failed or was not read."""
    read = [] if own is None else [(AT, result(AT, succeeded=own))]
    if neighbour_fails:
        read.append((AT + 1, result(AT + 1, succeeded=False)))
    changed = Changed({AT: state}, {AT: "late"} if state is State.GIVEN_UP else {})
    return judge({File(at=AT): AT}, changed, read, lambda key: f"etag of {key}", 1)


AS_READ = result(AT)
FAILED = result(AT, succeeded=False)
AS_PUBLISHED = FileResult(coord=File(at=AT), etag="etag of f004").advance(SourceFileStatus.SUCCEEDED)
NO_RESULT = FileResult(coord=File(at=AT), was_tried=False)
SPOILT = AS_READ.model_copy(
    update={
        "status": SourceFileStatus.READ_FAILED,
        "reason": "its neighbour f005 was used before and failed now: spoilt",
    }
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
        (True, AS_PUBLISHED),
    )
    assert found.results == [next(said for holds, said in rows if holds)]
    assert found.withheld == ({AT} if held and endangered else set())


@pytest.mark.parametrize(("steps", "endangered"), [(1, True), (2, False)])
def test_a_neighbour_endangers_as_far_as_the_variable_reaches(steps: int, endangered: bool) -> None:
    changed, read = Changed({AT: State.RIGHT}), [(AT + steps, result(AT + steps, succeeded=False))]
    found = judge({File(at=AT): AT}, changed, read, lambda _: None, 1)
    assert found.withheld == ({AT} if endangered else set())


def test_a_neighbour_that_was_lacking_before_endangers_nothing() -> None:
    changed = Changed({AT: State.LACKING, AT + 1: State.LACKING})
    read = [(AT, result(AT)), (AT + 1, result(AT + 1, succeeded=False))]
    found = judge({File(at=at): at for at in (AT, AT + 1)}, changed, read, lambda _: None, 1)
    assert [one.succeeded for one in found.results] == [True, False]
    assert found.withheld == set()


def test_a_file_beside_the_region_that_is_still_missing_is_told_of() -> None:
    beside = result(0, succeeded=False)
    changed = Changed({AT: State.RIGHT}, missing_beside=frozenset({beside.coord.key()}))
    found = judge({File(at=AT): AT}, changed, [(0, beside)], lambda _: None, 1)
    assert [one.coord.key() for one in found.results] == ["f000", "f004"]
