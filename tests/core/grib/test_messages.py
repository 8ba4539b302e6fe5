"""Decoded values, against what another decoder found in real messages."""

import hashlib
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from reformatters_dagster.core.grib.messages import decode
from reformatters_dagster.core.spec.errors import CorruptMessage
from tests.core.grib.real_messages import FILES, GFS, TMP_2M, make_message, messages_of, slow_where_large


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("path", [slow_where_large(path) for path in FILES])
def test_values_are_what_eccodes_decodes(path: Path) -> None:
    for message, m in messages_of(path):
        values = decode(message)
        assert values.shape == (m["Ny"], m["Nx"])
        assert values.dtype == np.float32
        assert hashlib.md5(values.astype("<f4").tobytes()).hexdigest() == m["md5_float32_le_missing_nan"]
        assert int(np.isnan(values).sum()) == m["n_missing"]
        assert np.nanmin(values) == np.float32(m["min"])
        assert np.nanmax(values) == np.float32(m["max"])
        for point in m["points"]:
            found = values.flat[point["flat_index"]]
            assert np.isnan(found) if point["value"] is None else found == np.float32(point["value"])


def test_values_near_the_decoders_own_missing_value_are_kept() -> None:
    message = make_message([9999, 9998, 7, 10000, 9999], (2, 3), bitmap=[1, 1, 1, 0, 1, 1])
    np.testing.assert_array_equal(decode(message), np.array([[9999, 9998, 7], [np.nan, 10000, 9999]], np.float32))


def test_fill_value_is_masked_before_scaling() -> None:
    values = decode(make_message([50, 0, 25, 100], (2, 2)), source_fill_value=50.0, scale_factor=0.5, add_offset=50.0)
    np.testing.assert_array_equal(values, np.array([[np.nan, 50], [62.5, 100]], np.float32))


@pytest.mark.usefixtures("shared_data")
def test_units_change_in_float64() -> None:
    message, m = messages_of(TMP_2M)[0]
    celsius = decode(message, add_offset=-273.15)
    for point in m["points"]:
        assert celsius.flat[point["flat_index"]] == np.float32(point["value"] - 273.15)


@pytest.mark.parametrize("mode", [0x00, 0x40, 0x80, 0xC0])
def test_points_come_in_the_order_they_are_stored(mode: int) -> None:
    values = decode(make_message(range(6), (2, 3), scanning_mode=mode))
    np.testing.assert_array_equal(values, np.array([[0, 1, 2], [3, 4, 5]], np.float32))


@pytest.mark.parametrize("mode", [0x10, 0x20, 0x08, 0x04, 0x02, 0x01])
def test_other_orders_are_refused(mode: int) -> None:
    with pytest.raises(CorruptMessage, match=f"scanning mode {mode:#04x} is not read"):
        decode(make_message(range(6), (2, 3), scanning_mode=mode))


def test_grid_without_rows_is_refused() -> None:
    message = bytearray(make_message(range(6), (2, 3)))
    at = message.index(struct.pack(">II", 3, 2))
    message[at : at + 4] = b"\xff" * 4
    with pytest.raises(CorruptMessage, match="points of grid template 0 form no rows"):
        decode(bytes(message))


def test_values_beyond_float32() -> None:
    with pytest.raises(CorruptMessage, match=r"TMP in f006: values up to 3\.0[0-9]*e\+39 exceed float32"):
        decode(make_message([0, 0], (1, 2), reference=3e38), scale_factor=10.0, where="TMP in f006")


def test_what_eccodes_cannot_unpack() -> None:
    message = make_message(range(6), (2, 3))
    packing = struct.pack(">IHfhhBB", 6, 0, 0.0, 0, 0, 16, 0)
    damaged = message.replace(packing, struct.pack(">IHfhhBB", 6, 0, 0.0, 0, 0, 200, 0))
    with pytest.raises(CorruptMessage, match=r"TMP in f006: ecCodes cannot unpack it .* fetch it again"):
        decode(damaged, where="TMP in f006")


@pytest.mark.usefixtures("shared_data")
def test_threads_decode_what_one_thread_does() -> None:
    messages = [message for message, _ in messages_of(GFS / "nilsmagnus__grib--gfs.t00z.pgrb2.2p50.f000")][:64]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(decode, messages))
    for alone, values in zip(map(decode, messages), together, strict=True):
        np.testing.assert_array_equal(alone, values)
