"""What every test stands on: no network, no settings of this machine, the real files beside the checkout."""

import os
import shutil
import signal
import socket
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

os.environ["MPLBACKEND"] = "Agg"
# Where bytecode is not kept, every process that a test starts compiles half its environment anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell that starts the tests in the background has them ignore SIGINT. Dagster lets SIGTERM do what SIGINT does, and a child
# that ignores it, such as one that captures logs, would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests make hundreds of thousands of small files: in memory, where there is room, that takes a fifth of their time away.
MEMORY, WANTED_BYTES = Path("/dev/shm"), 8 * 2**30
if "PYTEST_DEBUG_TEMPROOT" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= WANTED_BYTES:
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)

SHARED_DATA = Path(__file__).parents[1] / "../shared/data"
NO_SHARED_DATA = "no ../shared/data"
NO_PARAMETER = "got empty parameter set"
SETTINGS = ("AWS_", "AZURE_", "GOOGLE_", "REFORMATTERS_", "DAGSTER_HOME")
LOOPBACK = ("localhost", "127.", "::1")

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real upstream files; the test is skipped where a checkout has none beside it.

    A test that reads real files by itself asks for this too, with `usefixtures`; nothing is read when a module is imported.
    """
    if not SHARED_DATA.is_dir():
        pytest.skip(f"{NO_SHARED_DATA} beside this checkout; real messages are not tested")
    return SHARED_DATA.resolve()


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(SETTINGS)]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("network"):
        return
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def connect_here(self: socket.socket, address: Any) -> None:
        _refuse_other_machines(self, address)
        connect(self, address)

    def connect_ex_here(self: socket.socket, address: Any) -> int:
        _refuse_other_machines(self, address)
        return connect_ex(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    monkeypatch.setattr(socket.socket, "connect_ex", connect_ex_here)


def _refuse_other_machines(connecting: socket.socket, address: Any) -> None:
    internet = connecting.family in {socket.AF_INET, socket.AF_INET6}
    if internet and not address[0].startswith(LOOPBACK):
        pytest.fail(f"a test connects to {address!r}; serve it on loopback, or mark the test `network`")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that is skipped for want of real files where they are."""
    report = yield
    for reason in (NO_SHARED_DATA, NO_PARAMETER):
        if report.skipped and reason in str(report.longrepr) and SHARED_DATA.is_dir():
            report.outcome = "failed"
            report.longrepr = f"skipped for {reason!r}, but real files are there: {SHARED_DATA.resolve()}"
    return report
