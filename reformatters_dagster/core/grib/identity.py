"""Whether a message is the one that was asked for.

In: the header of a message, and the field, times and member that were asked for. Out: nothing, or CorruptMessage.
"""

from collections.abc import Collection, Sequence
from math import isclose
from typing import Literal

from reformatters_dagster.core.grib.header import MessageHeader
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import GribField

type AnyWindow = Literal["any"]
ANY_WINDOW: AnyWindow = "any"
"""A time window of any length. It must still end at the lead time.

>>> times: MessageTimes = (pd.Timestamp("2026-01-01T06"), pd.Timedelta("9h"), ANY_WINDOW)
>>> times[2]
'any'
"""


type _Item = tuple[str, tuple[object, ...], object, bool]
"""What is compared, what was asked, what was found, and whether that is the same."""


def check_identity(
    header: MessageHeader,
    field: GribField,
    *,
    init_time: Timestamp,
    lead_time: Timedelta,
    window: Timedelta | AnyWindow | None,
    member: int | tuple[int | None, ...] | None = None,
    centre: int | None = None,
    processes: Collection[int] | None = None,
    where: str,
) -> None:
    """Check that a message is the one that was asked for.

    Parameters
    ----------
    header : MessageHeader
    field : GribField
        A surface without a value accepts any value in the message.
    init_time, lead_time
    window : Timedelta, ANY_WINDOW or None
        Length of the time window, which ends at `lead_time`; None for an instant.
    member : int, None or tuple of these
        Perturbation number; None asks for a message without one. A tuple accepts any of its items.
    centre : int, optional
        Originating centre; None accepts any.
    processes : collection of int, optional
        Generating processes of that centre; None accepts any.
    where : str
        Names the message in an error.

    Raises
    ------
    CorruptMessage
        Some item differs. The message names each one, as asked and as found.
    """
    start = header.start if window == ANY_WINDOW else lead_time if window is None else lead_time - window
    parameter = (header.discipline, header.category, header.number)
    parameters, surfaces = (
        (field.parameter, *field.alternative_parameters),
        (field.surface, *field.alternative_surfaces),
    )
    on_surface = any(_same_surface(one, header.surface) for one in surfaces)
    members = member if isinstance(member, tuple) else (member,)
    items: tuple[_Item, ...] = (
        ("parameter", parameters, parameter, parameter in parameters),
        ("surface", surfaces, header.surface, on_surface),
        ("reference time", (init_time,), header.reference_time, init_time == header.reference_time),
        ("statistic", (field.statistic,), header.statistic, field.statistic == header.statistic),
        ("start", (start,), header.start, start == header.start),
        ("stop", (lead_time,), header.stop, lead_time == header.stop),
        ("member", members, header.member, header.member in members),
        ("derived forecast", (field.derived,), header.derived, field.derived == header.derived),
        ("centre", (centre,), header.centre, centre is None or centre == header.centre),
        ("generating process", (processes,), header.process, processes is None or header.process in processes),
    )
    if not all(same for *_, same in items):
        raise CorruptMessage(_explain(items, where))


def _explain(items: Sequence[_Item], where: str) -> str:
    differences = "; ".join(
        f"{item} asked {' or '.join(map(repr, asked))}, found {found!r}"
        for item, asked, found, same in items
        if not same
    )
    return (
        f"{where} is another message: {differences}; the index does not fit the file, or the file not its name: fetch it again; "
        "where every file differs so, correct the variable's row, or what its region job says of their origin"
    )


def _same_surface(asked: tuple[int, float | None], found: tuple[int, float | None]) -> bool:
    if asked[0] != found[0]:
        return False
    return asked[1] is None or (found[1] is not None and isclose(asked[1], found[1], rel_tol=1e-9, abs_tol=1e-12))
