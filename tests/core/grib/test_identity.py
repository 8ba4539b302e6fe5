"""A message is told from every other message, item by item."""

import struct
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from reformatters_dagster.core.grib.header import MessageHeader, read_header
from reformatters_dagster.core.grib.identity import ANY_WINDOW, check_identity
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.variables import GribField
from tests.core.grib.real_messages import DATA, MEMBER, THREE, first_of, messages_of

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
        ({"derived": 4}, "derived forecast asked None, found 4"),
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


MEAN = DATA / "gefs/naschidaniel__spatialMOS--GFSE_20210416_0000_avg_f006.grb2"
AIFS = DATA / "ecmwf/mpiannucci__gribberish--aifs-single-t500.grib2"


def check_as_it_is(header: MessageHeader, **asked: Any) -> None:
    """Ask for what a message is, but for its kind and origin."""
    field = GribField(
        element="?", level="?", parameter=(header.discipline, header.category, header.number), surface=header.surface
    )
    wanted = {"derived": asked.pop("derived", None)}
    times: dict[str, Any] = {"init_time": header.reference_time, "lead_time": header.stop, "window": None}
    check_identity(header, field.model_copy(update=wanted), **times, member=header.member, where="it", **asked)


@pytest.mark.usefixtures("shared_data")
def test_the_mean_of_an_ensemble_is_no_forecast() -> None:
    mean = read_header(first_of(MEAN), "mean")
    assert (mean.derived, mean.member) == (0, None)
    check_as_it_is(mean, derived=0)
    for asked in (None, 4):
        with pytest.raises(CorruptMessage, match=f"it is another message: derived forecast asked {asked}, found 0;"):
            check_as_it_is(mean, derived=asked)


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("template", [2, 12])
def test_a_spread_is_no_mean(template: int) -> None:
    message = bytearray(first_of(MEAN))
    product = message.index(struct.pack(">BHH", 4, 0, 2))
    if template == 12:  # octets of the window follow those of the derived forecast
        length = int.from_bytes(message[product - 4 : product], "big")
        window = struct.pack(">HBBBBBBIBBBIBI", 2021, 4, 16, 6, 0, 0, 1, 0, 0, 2, 1, 6, 255, 0)
        message[product - 4 + length : product - 4 + length] = window
        message[product - 4 : product] = (length + len(window)).to_bytes(4, "big")
        message[product + 3 : product + 5] = struct.pack(">H", 12)
        message[8:16] = len(message).to_bytes(8, "big")
    message[product - 4 + 34] = 4
    assert read_header(bytes(message), "spread").derived == 4


@pytest.mark.usefixtures("shared_data")
def test_models_are_told_apart_by_centre_and_process() -> None:
    aifs = read_header(first_of(AIFS), "AIFS")
    assert (aifs.centre, aifs.process) == (98, 4)
    check_as_it_is(aifs, centre=98, processes=(4,))
    check_as_it_is(aifs, centre=98)
    with pytest.raises(CorruptMessage, match="it is another message: centre asked 7, found 98; the index"):
        check_as_it_is(aifs, centre=7, processes=(4,))
    with pytest.raises(
        CorruptMessage, match=r"generating process asked range\(100, 255\), found 4; .* of their origin$"
    ):
        check_as_it_is(aifs, centre=98, processes=range(100, 255))
