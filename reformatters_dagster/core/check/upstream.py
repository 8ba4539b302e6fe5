"""Whether published values are those of the upstream files, as a check.

In: a published store, its ledger, and a way to ask the upstream again. Out: a CheckResult. It reads a chunk of a few fields, and
fetches the messages that these are made from.
"""

from typing import ClassVar

from pydantic import Field

from reformatters_dagster.core.check.opened import FieldComparison, OpenedStore
from reformatters_dagster.core.check.places import Place
from reformatters_dagster.core.check.validators import CheckResult, Severity, Validator
from reformatters_dagster.core.check.wording import listed
from reformatters_dagster.core.spec.errors import SecondDecoderMissing
from reformatters_dagster.core.spec.values import Timestamp


class CheckValuesMatchUpstream(Validator):
    """A random sample of published values is what another decoder, ecCodes, reads in the upstream files.

    The check draws some fields of the newest partition, and half as many of one earlier partition. Of each it reads one chunk,
    fetches the messages again, and lets ecCodes, in a process of its own, say which values they have and where these lie. The
    dataset, the partition and the newest label seed the draw.

    Values that were made from files are compared: a rate is worked out again from the totals or means of its messages. A value
    may be off by the rounding of its variable, and by what float32 loses. Interpolated values are not compared, nor are points
    that lie between the points of a coarser source. A field whose files are no longer there is left out, and the message says so.

    A difference is an ERROR. It is a WARN where the file was published again after it was used: sensors have it read again.
    """

    name: str = "values_match_upstream"
    needs_ledger: ClassVar[bool] = True
    needs_upstream: ClassVar[bool] = True
    fields: int = Field(default=6, ge=1)
    """How many fields of the newest partition are compared."""

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:
        assert opened.compare is not None
        try:
            compared = opened.compare(opened, self.fields, now)
        except SecondDecoderMissing as error:
            return CheckResult(name=self.name, passed=False, severity="WARN", message=f"nothing was compared: {error}")
        done = [one for one in compared if not one.skipped]
        differing = [one for one in done if one.difference]
        skipped = [f"{one.field} ({one.skipped})" for one in compared if one.skipped]
        metadata: dict[str, float | int | str] = {
            "fields_compared": len(done),
            "fields_differing": len(differing),
            "fields_left_out": len(skipped),
            "points_compared": sum(one.points for one in done),
            "points_differing": sum(one.differing for one in done),
        }
        left_out = f"; left out: {listed(skipped, '; ', 2)}" if skipped else ""
        if differing:
            message = (
                f"{len(differing)} of {len(done)} fields differ from the upstream files: "
                f"{listed([one.difference for one in differing], '; ')}; if the store is wrong, "
                f"`reformat backfill {opened.dataset_id} --contains {differing[0].label} --overwrite-chunks` makes the first anew"
                f"{left_out}"
            )
            places = tuple(_place(one) for one in differing)
            severity: Severity = "WARN" if all(one.published_again for one in differing) else "ERROR"
            metadata |= places[0].metadata()
            return CheckResult(
                name=self.name, passed=False, severity=severity, message=message, metadata=metadata, places=places
            )
        message = (
            f"{metadata['points_compared']} values of {len(done)} fields are those of the upstream files{left_out}"
        )
        if not done:
            message = (
                f"nothing was compared{left_out or ': no published field was made from files that the ledger tells of'}"
            )
        return CheckResult(name=self.name, passed=True, message=message, metadata=metadata)


def _place(one: FieldComparison) -> Place:
    return Place(variable=one.variable, label=one.label, box=one.box, field=dict(one.at or {}))
