"""Packings that ecCodes unpacks: in a process of its own, whose end costs one message."""

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reformatters_dagster.core.grib import apart
from reformatters_dagster.core.grib.messages import decode
from reformatters_dagster.core.spec.errors import CorruptMessage
from tests.grib_writer import simple

ROOT = Path(__file__).parents[3]
WIDE = simple([2**40 - 1, 5], 40, (1, 2))


READ = "import os, signal, struct, sys, time\nhead = sys.stdin.buffer.read(16)\n"
ANSWER = "sys.stdout.buffer.write({}); sys.stdout.flush()\n"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (READ + "os.kill(os.getpid(), signal.SIGSEGV)", "ecCodes unpacked it and ended by SIGSEGV; fetch it again"),
        (READ + "os.kill(os.getpid(), signal.SIGPROF)", "ecCodes unpacked it and took longer than any field does"),
        (READ + "sys.exit(3)", "ecCodes unpacked it and ended with status 3"),
        ("raise SystemExit(1)", "ecCodes unpacked it and ended with status 1"),
        (READ + ANSWER.format("struct.pack('<q', 2) + bytes(9)"), "ecCodes unpacked it and ended with status 0"),
        (READ + ANSWER.format("struct.pack('<q', 1 << 60)") + "time.sleep(60)", "ended by SIGKILL"),
        (READ + ANSWER.format("struct.pack('<q', -(1 << 60))") + "time.sleep(60)", "ended by SIGKILL"),
    ],
)
def test_a_child_that_ends_costs_one_message(tmp_path: Path, script: str, says: str) -> None:
    child = tmp_path / "child.py"
    unpacker = apart.Unpacker(child)
    child.write_text(script)
    with pytest.raises(CorruptMessage, match=f"^TMP in f006: .*{says}"):
        unpacker.unpack(WIDE, 2, "TMP in f006")
    child.write_text(READ + "sys.stdin.buffer.read(struct.unpack('<QQ', head)[1])\n")
    with child.open("a") as file:
        file.write(ANSWER.format("struct.pack('<qdd', 2, 7, float('nan'))"))
    np.testing.assert_array_equal(unpacker.unpack(WIDE, 2, "TMP in f006"), [7, np.nan])
    unpacker.close()


@pytest.mark.parametrize("ended_by", [signal.SIGSEGV, signal.SIGKILL])
def test_a_child_that_was_killed_while_it_was_idle_costs_no_message(ended_by: signal.Signals) -> None:
    decode(WIDE)
    running = apart._unpacker._child
    assert running is not None
    os.kill(running.pid, ended_by)
    running.wait()
    for _ in range(2):
        np.testing.assert_array_equal(decode(WIDE), np.array([[2**40 - 1, 5]], np.float32))
    assert apart._unpacker._child is not running


CRASHES = (
    "import os, signal, struct, sys\nwith open(__file__ + '.starts', 'a') as starts: starts.write('.')\n"
    "while head := sys.stdin.buffer.read(16):\n"
    "    message = sys.stdin.buffer.read(struct.unpack('<QQ', head)[1])\n"
    "    if message.startswith(b'SIG'): os.kill(os.getpid(), getattr(signal, message.decode()))\n    "
) + ANSWER.format("struct.pack('<qdd', 2, 7, 8)")


@pytest.mark.parametrize(
    ("message", "says", "tries"),
    [(b"SIGSEGV", "ended by SIGSEGV", 2), (b"SIGKILL", "ended by SIGKILL", 2), (b"SIGPROF", "took longer than any", 1)],
)
def test_a_crash_of_the_child_is_no_crash_of_the_run(tmp_path: Path, message: bytes, says: str, tries: int) -> None:
    """A child that had served before may have ended for another reason, so a second one is tried; a new one has no excuse."""
    child = tmp_path / "child.py"
    child.write_text(CRASHES)
    starts = Path(f"{child}.starts")
    unpacker = apart.Unpacker(child)
    np.testing.assert_array_equal(unpacker.unpack(WIDE, 2, "f006"), [7, 8])
    for children in (tries, tries + 1):
        with pytest.raises(CorruptMessage, match=f"^f006: ecCodes unpacked it and {says}.*; fetch it again$"):
            unpacker.unpack(message, 2, "f006")
        assert len(starts.read_text()) == children
    np.testing.assert_array_equal(unpacker.unpack(WIDE, 2, "f006"), [7, 8])
    unpacker.close()


def test_a_child_that_ends_by_itself_can_be_looked_at(tmp_path: Path) -> None:
    """Its stderr is not kept: ecCodes writes there for every damaged message."""
    child = tmp_path / "child.py"
    child.write_text("raise SystemExit('no pygrib here')")
    with pytest.raises(
        CorruptMessage, match=r"status 1; .*if others end so too, this shows why: .* < /dev/null$"
    ) as refused:
        apart.Unpacker(child).unpack(WIDE, 2, "f006")
    shown = subprocess.run(
        str(refused.value).rpartition("shows why: ")[2], shell=True, capture_output=True, text=True, check=False
    )
    assert shown.stderr == "no pygrib here\n"


def test_another_number_of_values_than_the_grid_has_points() -> None:
    with pytest.raises(
        CorruptMessage, match=r"f006: ecCodes cannot unpack it \(2 values came out, its grid has 3 points"
    ):
        apart.unpack_apart(WIDE, 3, "f006")


def test_a_message_without_meaning() -> None:
    with pytest.raises(CorruptMessage, match=r"f006: ecCodes cannot unpack it \(\w+: .*\); fetch it again"):
        apart.unpack_apart(b"GRIB", 3, "f006")


def test_the_child_spends_no_more_cpu_than_a_field_takes() -> None:
    script = ROOT / "reformatters_dagster/core/grib/pygrib_child.py"
    endless = (
        "import runpy, sys; import pygrib\n"
        "def spin(message):\n    while True: pass\n"
        "pygrib.fromstring = spin\n"
        f"runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    request = struct.pack("<QQ", 2, len(WIDE)) + WIDE
    done = subprocess.run([sys.executable, "-c", endless], input=request, capture_output=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGPROF


def test_the_child_takes_no_more_memory_than_a_field_takes() -> None:
    script = ROOT / "reformatters_dagster/core/grib/pygrib_child.py"
    greedy = (
        "import runpy, sys; import pygrib\n"
        "def grab(message):\n    return bytearray(1 << 31)\n"
        "pygrib.fromstring = grab\n"
        f"runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    request = struct.pack("<QQ", 2, len(WIDE)) + WIDE
    done = subprocess.run([sys.executable, "-c", greedy], input=request, capture_output=True, check=True, timeout=60)
    assert b"MemoryError" in done.stdout


def test_a_fork_starts_a_child_of_its_own() -> None:
    before = apart._unpacker
    apart._forget_unpacker()
    try:
        np.testing.assert_array_equal(decode(WIDE), np.array([[2**40 - 1, 5]], np.float32))
        assert apart._unpacker is not before
    finally:
        apart._unpacker.close()
        apart._of_parents.remove(before)
        apart._unpacker = before
