"""What every check is made of, and how to write one.

In: a published store, opened lazily, and the time. Out: one CheckResult per validator.

A check is a subclass of `Validator` with a name and one method. It reads what it needs from the `OpenedStore`:

```python
class CheckNotEmpty(Validator):
    \"\"\"The store has at least one label.\"\"\"

    name: str = "not_empty"

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:
        count = opened.labels.size
        message = f"{count} labels of {opened.append_dim} are published"
        return CheckResult(name=self.name, passed=count > 0, message=message, metadata={"labels": count})
```

Put it in the module of this room that checks the same thing, or in a new one. Then add it to `STANDARD_CHECKS` in `standard`, or
to the `validators` of one dataset. Dagster shows it as an asset check, with its name and the first line of its docstring.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.check.places import Place
from reformatters_dagster.core.spec.values import Frozen, Timestamp

log = logging.getLogger(__name__)

type Severity = Literal["ERROR", "WARN"]


class CheckResult(Frozen):
    """What one validator found. The same facts give the same words, so that alerts group."""

    name: str
    passed: bool
    severity: Severity = "ERROR"
    """How bad a failure is. It means nothing where the check passed."""
    message: str
    """What was found and, on failure, what to do."""
    metadata: dict[str, float | int | str] = Field(default_factory=dict)
    """Figures worth a chart."""
    places: tuple[Place, ...] = ()
    """Where suspicious values lie, the worst first: Dagster shows a map of the first."""


class Validator(Frozen, ABC):
    """One question about a published store. It reads little, and it never reads the clock."""

    name: str
    """Name of the check in results. Two validators of one class in a dataset need two names."""
    needs_ledger: ClassVar[bool] = False
    """Whether the check needs a ledger. Stores without one, such as replicas, skip it."""
    needs_upstream: ClassVar[bool] = False
    """Whether the check asks the upstream again. It is skipped where nobody says where that is."""

    @abstractmethod
    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:
        """Answer for the store as it is; `now` is naive UTC."""


def run_validators(validators: Sequence[Validator], opened: OpenedStore, now: Timestamp) -> list[CheckResult]:
    """Run every validator, in order.

    A validator that raises is a failed check; the others still run. A validator that needs a ledger or the upstream is left
    out where there is none.
    """
    able = [
        validator
        for validator in validators
        if (opened.ledger is not None or not validator.needs_ledger)
        and (opened.compare is not None or not validator.needs_upstream)
    ]
    return [_answer(validator, opened, now) for validator in able]


def _answer(validator: Validator, opened: OpenedStore, now: Timestamp) -> CheckResult:
    try:
        return validator.check(opened, now)
    except Exception as error:
        log.exception("check %s of %s broke", validator.name, opened.dataset_id)
        message = f"the check itself broke: {type(error).__name__}: {error}"
        return CheckResult(name=validator.name, passed=False, message=message)
