"""A message is told from every other message, item by item."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from reformatters_dagster.core.grib.header import MessageHeader, read_header
from reformatters_dagster.core.grib.identity import ANY_WINDOW, check_identity
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.variables import GribField
from tests.core.grib.real_messages import MEMBER, THREE, first_of, messages_of

FIELD = GribField(element="APCP", level="surface", parameter=(0, 1, 8), surface=(1, None), statistic="acc")
INIT = pd.Timestamp("2020-03-30T18")


def check(
    header: MessageHeader, field: GribField = FIELD, member: int | None = None, window: str | None = "6h"
) -> None:
    length = window if window in (None, ANY_WINDOW) else pd.Timedelta(window)
    check_identity(
        header, field, init_time=INIT, lead_time=pd.Timedelta("12h"), window=length, member=member, where="APCP in f012"
    )


@pytest.mark.usefixtures("shared_data")
def test_identity_of_the_message_that_was_asked_for() -> None:
    temperature, bucket, total = (read_header(message, "f012") for message, _ in messages_of(THREE))
    check(bucket)
    check(total, window="12h")
    instant = GribField(element="TMP", level="surface", parameter=(0, 0, 0), surface=(1, None))
    check(temperature, instant, window=None)
    check(replace(bucket, number=192), FIELD.model_copy(update={"alternative_parameters": ((0, 1, 192),)}))
    check(replace(bucket, member=0), member=0)
    check(
        replace(bucket, surface=(10, None)), FIELD.model_copy(update={"alternative_surfaces": ((8, None), (10, None))})
    )


@pytest.mark.usefixtures("shared_data")
def test_a_window_of_any_length_still_ends_at_the_lead_time() -> None:
    _, bucket, total = (read_header(message, "f012") for message, _ in messages_of(THREE))
    for header in (bucket, total):
        check(header, window=ANY_WINDOW)
    with pytest.raises(CorruptMessage, match=r"another message: stop asked .*12:00:00.*found .*11:00:00"):
        check(replace(bucket, stop=pd.Timedelta("11h")), window=ANY_WINDOW)
    with pytest.raises(CorruptMessage, match="another message: statistic asked 'acc', found 'instant'"):
        check(replace(bucket, statistic="instant"), window=ANY_WINDOW)


@pytest.mark.usefixtures("shared_data")
def test_swapped_messages_are_told_apart() -> None:
    temperature, bucket, total = (read_header(message, "f012") for message, _ in messages_of(THREE))
    with pytest.raises(
        CorruptMessage, match=r"APCP in f012 .* start asked .*06:00:00.*found .*0 days 00:00:00.*the index"
    ):
        check(total)
    with pytest.raises(
        CorruptMessage, match=r"parameter asked \(0, 1, 8\), found \(0, 0, 0\); statistic asked 'acc', found"
    ):
        check(temperature)
    with pytest.raises(CorruptMessage, match=r"start asked .*00:00:00.*found .*06:00:00"):
        check(bucket, window="12h")


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"discipline": 2}, r"parameter asked \(0, 1, 8\), found \(2, 1, 8\)"),
        ({"surface": (103, 2.0)}, r"surface asked \(1, None\), found \(103, 2.0\)"),
        ({"reference_time": pd.Timestamp("2020-03-30T12")}, "reference time asked .*T?18:00:00.*found .*12:00:00"),
        ({"statistic": "avg"}, "statistic asked 'acc', found 'avg'"),
        ({"start": pd.Timedelta("5h")}, "start asked .*06:00:00.*found .*05:00:00"),
        ({"stop": pd.Timedelta("11h")}, "stop asked .*12:00:00.*found .*11:00:00"),
        ({"member": 8}, "member asked None, found 8"),
    ],
)
def test_each_item_of_identity_is_compared(change: dict[str, Any], says: str) -> None:
    _, bucket, _ = (read_header(message, "f012") for message, _ in messages_of(THREE))
    with pytest.raises(CorruptMessage, match=says):
        check(replace(bucket, **change))


@pytest.mark.usefixtures("shared_data")
def test_surface_values_are_compared_where_they_are_asked_for() -> None:
    header = replace(read_header(first_of(THREE), "f012"), surface=(103, 2.0))
    at_2m, at_10m = (
        GribField(element="TMP", level="?", parameter=(0, 0, 0), surface=(103, height)) for height in (2.0, 10.0)
    )
    check(header, at_2m, window=None)
    with pytest.raises(CorruptMessage, match=r"surface asked \(103, 10.0\), found \(103, 2.0\)"):
        check(header, at_10m, window=None)
    with pytest.raises(CorruptMessage, match=r"surface asked \(103, 10.0\), found \(103, None\)"):
        check(replace(header, surface=(103, None)), at_10m, window=None)


@pytest.mark.usefixtures("shared_data")
def test_member_of_an_ensemble_message() -> None:
    header = read_header(first_of(MEMBER), "gep08")
    with pytest.raises(CorruptMessage, match="member asked 0, found 8"):
        check(header, member=0)
