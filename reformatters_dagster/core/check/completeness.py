"""What the ledger says of recent partitions, as checks. A reader of the store alone cannot see it.

In: a published store with its ledger, and the time. Out: one CheckResult per validator.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.check.validators import CheckResult, Severity, Validator
from reformatters_dagster.core.check.wording import listed, text_of
from reformatters_dagster.core.ledger.entries import LedgerEntry, LedgerView, MissingFile, OutdatedValue
from reformatters_dagster.core.ledger.reach import unwritten_labels
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.spec.wording import spell_count

BEYOND_GIVE_UP = Timedelta("3D")
"""How long past the give-up age a missing file still counts."""
ONE_DAY, NO_TIME = Timedelta("1D"), Timedelta(0)


class LedgerCheck(Validator):
    """A validator that reads the ledger."""

    needs_ledger: ClassVar[bool] = True


class CheckCompleteness(LedgerCheck):
    """Recent partitions used every file that is due, hold no outdated value, and have no damaged shard.

    A label that readers see, and that no run of a variable has wanted files of, is a hole like a missing file.

    A file is due when the dataset's soft deadline after its label has passed. The check counts files up to three days past the
    give-up age, then it forgets them.

    A failure is a WARN before the give-up age, an ERROR on the day after it, and then a WARN again.
    """

    name: str = "complete_partitions"

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:
        holes = [hole for recent in _recent(opened, now) if (hole := _hole(recent, now)) is not None]
        given_up = [hole for hole in holes if hole.given_up]
        metadata: dict[str, float | int | str] = {
            "partitions_incomplete": len(holes),
            "partitions_given_up": len(given_up),
            "files_missing": sum(hole.files for hole in holes),
            "values_outdated": sum(hole.values for hole in holes),
        }
        if not holes:
            message = "recent partitions were made from every file that is due"
            return CheckResult(name=self.name, passed=True, message=message, metadata=metadata)
        severity: Severity = "ERROR" if any(hole.given_up_lately for hole in holes) else "WARN"
        given_up_too = f" (given up: {len(given_up)})" if given_up else ""
        message = (
            f"{spell_count(len(holes), 'recent partition')} {'is' if len(holes) == 1 else 'are'} incomplete{given_up_too}: "
            f"{listed([hole.text for hole in reversed(holes)], '; ')}; "
            f"`reformat status {opened.dataset_id} --missing` names every missing file"
        )
        return CheckResult(name=self.name, passed=False, severity=severity, message=message, metadata=metadata)


class CheckPlausibleRates(LedgerCheck):
    """No variable of a recent partition had more negative rates than packing noise explains. If one had, its window is wrong."""

    name: str = "plausible_rates"

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:
        found = [
            f"{name!r} at {recent.entry.partition}: {coverage.implausible}"
            for recent in _recent(opened, now)
            if recent.entry is not None
            for name, coverage in recent.entry.variables.items()
            if coverage.implausible
        ]
        metadata: dict[str, float | int | str] = {"implausible": len(found)}
        message = listed(found[::-1], "; ") if found else "rates of recent partitions are plausible"
        return CheckResult(name=self.name, passed=not found, message=message, metadata=metadata)


class _Recent(NamedTuple):
    """A partition with labels that are recent."""

    start: Timestamp
    entry: LedgerEntry | None
    unwritten: frozenset[str]
    """Variables of the template that no run has written."""
    lacking: tuple[Timestamp, ...]
    """Published labels, due and recent, that no run of some other variable has written."""
    due: tuple[Timestamp, Timestamp]
    """First and last label whose files are due and recent."""
    give_up_age: Timedelta
    unreadable: bool
    """Whether there is an entry that cannot be read."""

    def is_due(self, label: Timestamp | None) -> bool:
        return self.due[0] <= (label or self.start) <= self.due[1]


class _Hole(NamedTuple):
    """What a partition lacks."""

    files: int
    values: int
    """How many values are outdated."""
    text: str
    given_up: bool
    """Whether some of it is past the give-up age."""
    given_up_lately: bool
    """Whether some of it passed the give-up age within the last day."""


def _recent(opened: OpenedStore, now: Timestamp) -> Iterator[_Recent]:
    """Partitions with labels that are due and recent, oldest first."""
    assert opened.ledger is not None
    view: LedgerView = opened.ledger
    due = (now - view.give_up_age - BEYOND_GIVE_UP, now - view.soft_deadline)
    names = frozenset(data_var.name for data_var in opened.data_vars)
    for labels in opened.shards():
        start, last = labels[0], labels[-1]
        if last < due[0] or start > due[1]:
            continue
        entry = view.entry_of(start)
        unwritten = names - set(entry.variables if entry is not None else ())
        unreadable = entry is None and bool(view.why_unreadable(start))
        untold = unwritten_labels(entry, opened.data_vars, labels) if entry is not None else {}
        lacking = {label for found in untold.values() for label in found if due[0] <= label <= due[1]}
        yield _Recent(start, entry, unwritten, tuple(sorted(lacking)), due, view.give_up_age, unreadable)


def _by_reason(lost: Mapping[str, MissingFile]) -> Iterator[str]:
    """Each kind of error, the most frequent one first, and the first files that have it."""
    kinds = {file: one.reason.partition(":")[0] for file, one in lost.items()}
    for kind, _ in Counter(kinds.values()).most_common():
        yield f"{kind}: {listed(sorted(file for file in lost if kinds[file] == kind))}"


def _hole(recent: _Recent, now: Timestamp) -> _Hole | None:
    """What a partition lacks; None where it lacks nothing."""
    lost: dict[str, MissingFile] = {}
    outdated: list[OutdatedValue] = []
    damaged = 0
    for coverage in recent.entry.variables.values() if recent.entry is not None else ():
        lost |= {one.file: one for one in coverage.missing if recent.is_due(one.label)}
        outdated += [one for one in coverage.outdated if recent.is_due(one.label)]
        damaged += bool(coverage.damaged)
    lacking = []
    if recent.unwritten:
        lacking.append(f"{spell_count(len(recent.unwritten), 'variable')} altogether")
    if lost:
        lacking.append(f"{spell_count(len(lost), 'file')} ({'; '.join(_by_reason(lost))})")
    if recent.lacking:
        lacking.append(f"{spell_count(len(recent.lacking), 'label')} that readers see and no run has written")
    findings = [f"lacks {' and '.join(lacking)}"] if lacking else []
    if outdated:
        findings.append(f"holds {spell_count(len(outdated), 'outdated value')}")
    if damaged:
        findings.append(f"has damaged shards of {spell_count(damaged, 'variable')}")
    if not findings:
        return None
    finding = " and ".join(findings)
    if recent.entry is None:
        finding = "has a ledger entry that cannot be read" if recent.unreadable else "was never written"
    known = [*(one.label for one in lost.values()), *(one.label for one in outdated)]
    labels = [*(label or recent.start for label in known), *recent.lacking]
    if recent.unwritten:
        labels.append(recent.start)
    overdue = [now - label - recent.give_up_age for label in labels]
    return _Hole(
        len(lost),
        len(outdated),
        f"{text_of(recent.start)} {finding}",
        any(one >= NO_TIME for one in overdue),
        any(NO_TIME <= one < ONE_DAY for one in overdue),
    )
