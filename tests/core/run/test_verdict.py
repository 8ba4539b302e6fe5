"""The tables of a commit, row by row: what files are worth, whether a run is committed, how far readers see."""

from itertools import product
from typing import Any

import pytest

from dataset_defs.noaa.gfs.forecast import GfsSourceFileCoord
from reformatters_dagster.core.run.plan import PartitionRequest
from reformatters_dagster.core.run.verdict import Growth, Verdict, Worth, grow, judge, settle, weigh
from reformatters_dagster.core.source.files import FileResult, Results, SourceFileStatus
from reformatters_dagster.core.spec.values import Timedelta, Timestamp

INIT = Timestamp("2026-07-29T18:00").as_unit("us")
COORD = GfsSourceFileCoord(init_time=INIT, lead_time=Timedelta("3h"))
REQUEST = PartitionRequest(label=INIT, publish=True)

READ, HELD = ({"status": SourceFileStatus.SUCCEEDED, "archive": archive} for archive in ("noaa", None))
ABSENT, CORRUPT, REFUSED = (
    {"status": SourceFileStatus.DOWNLOAD_FAILED, "reason": f"{kind}: it was to be had"}
    for kind in ("SourceFileMissing", "CorruptMessage", "SourceFileUnavailable")
)


def worth_of(*files: dict[str, Any], missing: bool = False) -> Worth:
    return Worth.of([FileResult(coord=COORD, **file) for file in files], {COORD.key()} if missing else set())


@pytest.mark.parametrize("missing", [False, True], ids=["new", "known missing"])
@pytest.mark.parametrize(
    ("file", "worth", "if_missing"),
    [
        (READ, Worth(read=True), Worth(read=True)),
        (HELD, Worth(held=True), Worth(held=True)),
        (ABSENT, Worth(), Worth()),
        (CORRUPT, Worth(failed=True), Worth()),
        (REFUSED, Worth(failed=True, refused=True), Worth(failed=True, refused=True)),
        (CORRUPT | {"was_tried": False}, Worth(), Worth()),
        (REFUSED | {"was_tried": False}, Worth(), Worth()),
    ],
    ids=["read", "held", "absent", "corrupt", "refused", "corrupt, not tried", "refused, not tried"],
)
def test_what_a_file_is_worth(file: dict[str, Any], worth: Worth, if_missing: Worth, missing: bool) -> None:
    assert worth_of(file, missing=missing) == (if_missing if missing else worth)


def test_a_run_is_worth_what_its_files_are_together() -> None:
    assert worth_of() == Worth()
    assert worth_of(HELD, REFUSED, READ) == Worth(read=True, held=True, failed=True, refused=True)
    files: Results = {name: [FileResult(coord=COORD, **file)] for name, file in (("rain", HELD), ("wind", CORRUPT))}
    assert weigh(files, None) == Worth(held=True, failed=True)
    assert weigh(files, None, goes_on=True) == Worth(read=True, held=True, failed=True)
    assert weigh({}, None, goes_on=True) == Worth()


POSSIBLE = [Worth(*one) for one in product((False, True), repeat=4) if one[2] or not one[3]]
"""A file that was refused counts as failed."""


@pytest.mark.parametrize("worth", POSSIBLE, ids=str)
def test_whether_a_run_is_committed(worth: Worth) -> None:
    is_worth_it = worth in {
        Worth(read=True),
        Worth(read=True, held=True),
        Worth(read=True, failed=True),
        Worth(read=True, held=True, failed=True),
        Worth(read=True, failed=True, refused=True),
        Worth(read=True, held=True, failed=True, refused=True),
        Worth(held=True),
    }
    given_up = Verdict.REFUSE if worth.refused else Verdict.GIVE_UP
    wanted = {
        (False, False): Verdict.REFUSE,
        (False, True): Verdict.REFUSE,
        (True, False): given_up,
        (True, True): Verdict.GIVE_UP,
    }
    for (accept_missing, force), otherwise in wanted.items():
        request = REQUEST.model_copy(update={"accept_missing": accept_missing, "force": force})
        assert judge(worth, request) is (Verdict.COMMIT if is_worth_it else otherwise)


def test_how_far_readers_see() -> None:
    flags = list(product((False, True), repeat=7))
    seen = dict.fromkeys(Growth, 0)
    for publish, is_last, accept_missing, force, kept, known, is_all in flags:
        request = PartitionRequest(label=INIT, publish=publish, accept_missing=accept_missing, force=force)
        growth = grow(request, is_last=is_last, kept=kept, known=known, policy="all" if is_all else "any")
        explained = force, kept, known, is_all
        wanted = {
            (True, True, True): Growth.TO_PLAN,
            (True, True, False): Growth.TO_RESULTS_OR_BEFORE if any(explained) else Growth.TO_RESULTS,
        }
        assert growth is wanted.get((publish, is_last, accept_missing), Growth.STAYS)
        seen[growth] += 1
    assert seen == {
        Growth.STAYS: 96,
        Growth.TO_PLAN: 16,
        Growth.TO_RESULTS: 1,
        Growth.TO_RESULTS_OR_BEFORE: 15,
    }


@pytest.mark.parametrize(("accepts", "force", "refused"), list(product((False, True), repeat=3)))
def test_only_force_gives_up_what_archives_refused(accepts: bool, force: bool, refused: bool) -> None:
    request = REQUEST.model_copy(update={"accept_missing": accepts, "force": force})
    settled = settle(request, Worth(read=True, failed=refused, refused=refused))
    assert settled.accept_missing == (accepts and (force or not refused))
    assert settled.force == force
