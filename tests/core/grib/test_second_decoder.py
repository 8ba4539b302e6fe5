"""A second decoder reads messages and their points; one that is not there, refuses or crashes, says so."""

from pathlib import Path

import numpy as np
import pytest

from reformatters_dagster.core.grib.second_decoder import Box, SecondDecoder
from reformatters_dagster.core.spec.errors import CorruptMessage, SecondDecoderMissing
from tests.core.grib.real_messages import HRRR, MEMBER, TMP_2M, messages_of
from tests.grib_writer import simple

EVERYWHERE = Box(-90.0, 90.0, 0.0, 180.0)
# From 1 N and 0 E on, by one degree to the east and the south.
SMALL = simple([1, 2, 3, 4, 5, 6], 8, (2, 3))


def test_points_in_a_box_have_their_values() -> None:
    with SecondDecoder() as decoder:
        whole = decoder.read([SMALL, SMALL], EVERYWHERE, "TMP")
        assert whole.values.shape == (2, 6)
        np.testing.assert_array_equal(whole.values[1], [1, 2, 3, 4, 5, 6])
        assert "shortName=2t" in whole.words[0]
        north, east = whole.latitude, whole.longitude
        part = decoder.read([SMALL], Box(north[4] - 0.1, north[4] + 0.1, east[4], 0.1), "TMP")
        assert (part.values.tolist(), part.longitude.tolist()) == ([[5.0]], [east[4]])


def test_a_box_across_the_date_line_is_one_box() -> None:
    with SecondDecoder() as decoder:
        found = decoder.read([SMALL], Box(-90.0, 90.0, 359.0, 1.2), "TMP")
    assert set(found.longitude.tolist()) == {0.0}


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("path", [TMP_2M, MEMBER, HRRR], ids=lambda path: path.parent.name)
def test_real_messages_have_the_values_that_are_known(path: Path) -> None:
    message, known = messages_of(path)[0]
    with SecondDecoder() as decoder:
        found = decoder.read([message], EVERYWHERE, path.name)
    assert found.values.shape[1] == known["ni"] * known["nj"] if "ni" in known else found.values.size > 0
    assert np.isfinite(found.values).any()


@pytest.mark.parametrize(
    ("script", "error", "says"),
    [
        ("import sys; sys.stderr.write('no libeccodes\\n'); sys.exit(3)", SecondDecoderMissing, "no libeccodes"),
        ("import sys; sys.exit(3)", SecondDecoderMissing, "install the packages eccodes and eccodeslib"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", CorruptMessage, "ended with status -11"),
        ("print('[')", CorruptMessage, "ended with status 0"),
        ('print(\'{"words": ["x"], "points": 6}\'); print("half")', CorruptMessage, "ended with status 0"),
        ("import sys; sys.stderr.write('loud\\n' * 100_000); sys.exit(5)", CorruptMessage, "status 5 and said 'loud'"),
    ],
)
def test_a_decoder_that_ends_says_why_and_is_started_again(
    tmp_path: Path, script: str, error: type[Exception], says: str
) -> None:
    child = tmp_path / "child.py"
    child.write_text(script)
    with SecondDecoder(child) as decoder:
        for _ in range(2):
            with pytest.raises(error, match=f"TMP in f006.*{says}"):
                decoder.read([SMALL], EVERYWHERE, "TMP in f006")


def test_a_message_that_eccodes_refuses_costs_that_message() -> None:
    with SecondDecoder() as decoder:
        with pytest.raises(CorruptMessage, match=r"^TMP in f006: the second decoder cannot read it \("):
            decoder.read([SMALL[:40] + b"\xff" * 20 + SMALL[60:]], EVERYWHERE, "TMP in f006")
        assert decoder.read([SMALL], EVERYWHERE, "TMP").values.size == 6


def test_messages_of_other_points_are_not_read_together() -> None:
    with SecondDecoder() as decoder, pytest.raises(CorruptMessage, match="do not have the same points"):
        decoder.read([SMALL, simple([1, 2, 3, 4, 5, 6], 8, (3, 2))], EVERYWHERE, "TMP")
