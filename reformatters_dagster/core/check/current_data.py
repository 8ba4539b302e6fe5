"""Whether the newest label that is due is published, as a check.

In: a published store and the time. Out: a CheckResult.
"""

import math

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.check.validators import CheckResult, Validator
from reformatters_dagster.core.check.wording import text_of
from reformatters_dagster.core.spec.values import Duration, Timestamp


class CheckCurrentData(Validator):
    """The newest label due by now is published.

    A label is due `max_delay` after the time it names. Only labels of the grid can be due. So the answer changes when the
    next label falls due, and does not depend on the minute at which the check runs.

    >>> CheckCurrentData(max_delay="8h").max_delay
    Timedelta('0 days 08:00:00')
    """

    name: str = "current_data"
    max_delay: Duration

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:
        axis, labels = opened.append_axis, opened.labels
        steps = (now - self.max_delay - axis.start) // axis.frequency
        if steps < 0:
            message = f"no {axis.name} is due yet; the first is {text_of(axis.start)}"
            return CheckResult(name=self.name, passed=True, message=message, metadata={"steps_late": 0})
        due = axis.start + steps * axis.frequency
        newest = labels.max() if labels.size else axis.start - axis.frequency
        found = text_of(newest) if labels.size else "none"
        late = max(math.ceil((due - newest) / axis.frequency), 0)
        message = f"{axis.name} {text_of(due)} was due and is published, the newest is {found}"
        if late:
            message = (
                f"{axis.name} {text_of(due)} is due, the newest published is {found}; run `reformat update "
                f"{opened.dataset_id}` and see what upstream has"
            )
        metadata: dict[str, float | int | str] = {"due": text_of(due), "newest": found, "steps_late": late}
        return CheckResult(name=self.name, passed=late == 0, message=message, metadata=metadata)
