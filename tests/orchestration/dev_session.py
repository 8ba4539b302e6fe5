"""`dg dev` as a process, for the length of a block. In: its options and environment. Out: a webserver that has loaded."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.postgres import free_port
from tests.stack.webserver import Webserver

ROOT = Path(__file__).parents[2]
DAGSTER_YAML = "telemetry: {enabled: false}\n"
LOCATIONS = """{workspaceOrError {
  ... on Workspace {locationEntries {name loadStatus locationOrLoadError {__typename}}}
}}"""
PATIENCE = 400.0
"""Seconds that a test waits at most; alone on a machine of two cores it waits for fifteen."""
POLL = 0.5
ENDED_WITHIN = 60.0


@dataclass(frozen=True)
class DevSession:
    """A session that serves."""

    web: Webserver
    log: Path

    def locations(self) -> dict[str, bool]:
        """Whether each code location has loaded; empty while the webserver does not answer or loads."""
        try:
            entries = self.web.ask(LOCATIONS)["workspaceOrError"]["locationEntries"]
        except urllib.error.URLError:
            return {}
        if any(entry["loadStatus"] != "LOADED" for entry in entries):
            return {}
        kinds = {entry["name"]: entry["locationOrLoadError"]["__typename"] for entry in entries}
        return {name: kind == "RepositoryLocation" for name, kind in kinds.items()}


@contextmanager
def dev_session(log: Path, environment: Mapping[str, str], *options: str) -> Iterator[DevSession]:
    """Start `dg dev` with these options, wait until it serves, and end it as Ctrl-C in a terminal does."""
    session = DevSession(Webserver(free_port(), ""), log)
    command = [str(Path(sys.executable).with_name("dg")), "dev", "--port", str(session.web.port), *options]
    with log.open("wb") as written:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + PATIENCE
        while not session.locations():
            assert process.poll() is None, f"it ended with {process.returncode}\n{log.read_text()[-3000:]}"
            assert time.monotonic() < end, f"not within {PATIENCE:.0f} s\n{log.read_text()[-3000:]}"
            time.sleep(POLL)
        yield session
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(ENDED_WITHIN)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
