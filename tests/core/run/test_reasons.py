"""The tables of why a partition is launched, healed or waits, row by row, without files or stores."""

from typing import Any

import pytest

from reformatters_dagster.core.ledger.entries import LedgerEntry, MissingFile, OutdatedValue, VariableCoverage
from reformatters_dagster.core.run.arrivals import Arrivals
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.reasons import Launch, why_cool_down, why_heal, why_publish
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from tests.datasets import INIT, RAIN, VARIABLES

pytest_plugins = ["tests.datasets"]

HOUR = Timedelta("1h")
EARLY, LATE = INIT + 2 * HOUR, INIT + 7 * HOUR
"""Before and after the soft deadline."""
ETAGS = {"a": "1", "b": "1", "c": "1"}


def arrived(present: int = 3, *, newest: Timestamp | None = INIT, fingerprint: str = "now") -> Arrivals:
    """So many of three files."""
    etags = dict(list(ETAGS.items())[:present])
    return Arrivals(INIT, 3, present, newest if present else None, fingerprint, etags)


def entry(
    *,
    missing: dict[str, str] | None = None,
    waits_for: str | None = None,
    waits_for_missing: str | None = None,
    why: str = "",
    **changes: Any,
) -> LedgerEntry:
    """What a run left five hours ago that had all files but the missing ones, each with a reason.

    Where told, a value of it waits for a file, or the missing ones do.
    """
    outdated = () if waits_for is None else (OutdatedValue(file="b", labels="", reason=why, waits_for=waits_for),)
    lost = tuple(
        MissingFile(file=file, labels="", reason=reason, label=INIT, waits_for=waits_for_missing)
        for file, reason in (missing or {}).items()
    )
    coverage = VariableCoverage(expected=3, succeeded=3 - len(lost), missing=lost, outdated=outdated)
    fields: dict[str, Any] = {
        "partition": partition_key(INIT),
        "dataset_id": "test",
        "version": "0",
        "region": (INIT, INIT),
        "extent": (INIT, INIT),
        "variables": dict.fromkeys(VARIABLES, coverage),
        "etags": {key: etag for key, etag in ETAGS.items() if key not in (missing or {})},
        "template_hash": "",
        "code_version": "",
        "run_id": "",
        "written_at": LATE - 5 * HOUR,
        "upstream": "before",
        "published": True,
    }
    return LedgerEntry(**fields | changes)


@pytest.mark.parametrize(
    ("present", "now", "late", "wanted"),
    [
        (3, EARLY, False, "all files have arrived"),
        (3, LATE, True, "all files have arrived; it is past its give-up age, and later ones have arrived"),
        (2, EARLY, False, None),
        (2, LATE, False, "the soft deadline has passed with 2 of 3 files"),
        (2, LATE, True, "the soft deadline has passed with 2 of 3 files; it is past its give-up age, and later ones"),
        (0, LATE, False, None),
        (0, LATE, True, "given up with 0 of 3 files; later ones have arrived"),
    ],
)
def test_why_the_oldest_unpublished_partition_is_updated(
    forecast_dataset: DynamicalDataset, present: int, now: Timestamp, late: bool, wanted: str | None
) -> None:
    found = why_publish(forecast_dataset, arrived(present), None, now, late=late)
    if wanted is None:
        assert found == f"has {present} of 3 files"
        return
    assert isinstance(found, Launch)
    assert found.reason.startswith(wanted)
    assert (found.request.publish, found.request.keep_published) == (True, False)
    assert found.request.accept_missing == (not present)
    assert found.past_give_up == (late and present > 0)


SAME: dict[str, Any] = {"upstream": "now"}
BESIDE = {"c": "its neighbour a was used before and failed now: CorruptMessage: cut"}
BEFORE = (INIT - HOUR, INIT - HOUR)
REFUSED = {"c": "SourceFileUnavailable: throttled"}


@pytest.mark.parametrize(
    ("known", "newest", "late", "wanted"),
    [
        (None, INIT, False, "all files have arrived"),
        (entry(**SAME), INIT, False, "has nothing new since its last run"),
        (entry(**SAME, missing=BESIDE, waits_for_missing="a"), LATE, False, "all files have arrived"),
        (entry(**SAME, etags={"a": "1", "b": "1"}), INIT, False, "all files have arrived"),
        (entry(**SAME), INIT, True, "all files have arrived; it is past"),
        (entry(**SAME, retry=True), INIT, False, "all files have arrived"),
        (entry(**SAME, retry=True, written_at=LATE), INIT, False, "ran 0 s ago and cools down"),
        (entry(**SAME, missing=REFUSED, written_at=LATE), INIT, False, "ran 0 s ago and cools down"),
        (entry(**SAME, published=False), INIT, False, "all files have arrived"),
        (entry(), INIT, False, "all files have arrived"),
    ],
)
def test_why_a_shard_of_many_labels_is_continued_or_waits(
    analysis_dataset: DynamicalDataset, known: LedgerEntry | None, newest: Timestamp, late: bool, wanted: str
) -> None:
    found = why_publish(analysis_dataset, arrived(newest=newest), known, LATE, late=late)
    assert (found.reason if isinstance(found, Launch) else found).startswith(wanted)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (Timedelta("-30min"), None),
        (Timedelta("-29min"), "ran 29 min ago and cools down"),
        (Timedelta("29min"), "ran a moment ago, by a clock that is 29 min ahead, and cools down"),
        (Timedelta("30min"), None),
        (Timedelta("5D"), None),
    ],
)
def test_a_run_whose_clock_was_ahead_holds_nothing_up(
    forecast_dataset: DynamicalDataset, written: Timedelta, wanted: str | None
) -> None:
    assert why_cool_down(forecast_dataset, entry(written_at=LATE + written), LATE) == wanted


@pytest.mark.parametrize(
    ("ago", "waits"),
    [
        (Timedelta("9min"), True),
        (Timedelta("10min"), False),
        (Timedelta("-9min"), True),
        (Timedelta("-10min"), False),
        (Timedelta("-5D"), False),
    ],
)
def test_a_bunch_of_files_is_waited_for(analysis_dataset: DynamicalDataset, ago: Timedelta, waits: bool) -> None:
    found = why_publish(analysis_dataset, arrived(2, newest=LATE - ago), None, LATE, late=False)
    assert str(found).endswith("; more of the bunch are waited for") == waits
    assert ago != Timedelta("9min") or str(found).startswith("got its newest file at 00:51")


@pytest.mark.parametrize(
    ("known", "arrivals", "wanted"),
    [
        (None, arrived(), "never written, and 3 of 3 files are there"),
        (None, arrived(1), "never written, and 1 of 3 files are there"),
        (None, arrived(0), None),
        (entry(**SAME), arrived(), None),
        (entry(**SAME, missing=REFUSED), arrived(), "files that archives refused, asked for again: 1"),
        (entry(**SAME, missing=REFUSED), arrived(2), None),
        (entry(**SAME, missing={"c": "CorruptMessage: cut"}), arrived(), None),
        (
            entry(**SAME, missing={"c": "CorruptMessage: cut"}, retry=True),
            arrived(),
            "missing files that have arrived: 1",
        ),
        (entry(etags=ETAGS | {"a": "0"}), arrived(), "files published again: 1"),
        (entry(missing={"c": "SourceFileMissing: late"}), arrived(), "missing files that have arrived: 1"),
        (entry(missing={"c": "SourceFileMissing: late"}), arrived(2), None),
        (entry(waits_for="c"), arrived(), "files that values waited for, now there: 1"),
        (entry(waits_for="c"), arrived(2), None),
        (entry(**SAME, waits_for="c"), arrived(), "files that values waited for, now there: 1"),
        (entry(**SAME, waits_for="c"), arrived(2), None),
        (entry(**SAME, waits_for="c", etags=ETAGS | {"c": "0"}), arrived(), None),
        (
            entry(
                **SAME, waits_for="c", why="c failed now: SourceFileUnavailable: throttled", etags=ETAGS | {"c": "0"}
            ),
            arrived(),
            "files published again: 1",
        ),
        (entry(**SAME, missing=BESIDE, waits_for_missing="a"), arrived(), "missing files that have arrived: 1"),
        (
            entry(**SAME, missing=BESIDE, waits_for_missing="a", extent=BEFORE),
            arrived(),
            "files that values waited for, now there: 1",
        ),
        (entry(**SAME, missing=BESIDE, waits_for_missing="a", etags=ETAGS | {"a": "0"}), arrived(), None),
        (entry(etags={"a": "1"}), arrived(), "files that were not due at its last run: 2"),
        (entry(etags={"a": "1"}), arrived(2, newest=LATE), None),
    ],
)
def test_why_a_published_partition_is_healed(
    forecast_dataset: DynamicalDataset, known: LedgerEntry | None, arrivals: Arrivals, wanted: str | None
) -> None:
    launch = why_heal(forecast_dataset, arrivals, known, LATE, stored=frozenset(VARIABLES))
    assert (launch is None) == (wanted is None)
    if launch is not None and wanted is not None:
        assert launch.reason.startswith(wanted)
        assert (launch.request.publish, launch.request.keep_published, launch.request.variables) == (False, True, ())


def test_what_a_run_left_uncommitted_is_healed(forecast_dataset: DynamicalDataset) -> None:
    launch = why_heal(forecast_dataset, arrived(), entry(**SAME), LATE, stored=frozenset(VARIABLES), abandoned=True)
    assert launch is not None
    assert launch.reason == "a run ended after it had begun to upload, and before its commit"
    assert launch.request.variables == ()


@pytest.mark.parametrize(("present", "now"), [(3, EARLY), (2, LATE), (2, EARLY), (0, LATE)])
def test_variables_that_no_run_has_written_are_healed_alone(
    forecast_dataset: DynamicalDataset, present: int, now: Timestamp
) -> None:
    others = {name: coverage for name, coverage in entry().variables.items() if name != RAIN}
    known = entry(**SAME, variables=others)
    launch = why_heal(forecast_dataset, arrived(present), known, now, stored=frozenset(VARIABLES))
    if (present, now) in {(3, EARLY), (2, LATE)}:
        assert launch is not None
        assert launch.request.variables == (RAIN,)
        assert launch.reason == f"variables never written: 1; {present} of 3 files are there"
    else:
        assert launch is None
    assert why_heal(forecast_dataset, arrived(present), known, now, stored=frozenset(others)) is None
