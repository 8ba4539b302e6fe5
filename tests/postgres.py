"""A throw-away Postgres for tests, where one is installed. It runs as a user that is not root, as it must.

A test module that asks for the fixture says `pytest_plugins = ["tests.postgres"]`; it has imported this one by then,
hence PYTEST_DONT_REWRITE.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

USER, PASSWORD = "dagster", "planted-postgres-password"
STARTS_WITHIN = 30.0
READY_LINE = 7
"""Of `postmaster.pid`, counted from 0."""


@dataclass(frozen=True)
class Postgres:
    """A server on this machine that asks for a password."""

    port: int

    def url(self, password: str = PASSWORD) -> str:
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/postgres"


def _program(name: str) -> str | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name, path=os.pathsep.join(map(str, folders))) or shutil.which(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    initdb, server = _program("initdb"), _program("postgres")
    if initdb is None or server is None:
        pytest.skip("Postgres is not installed")
    # Folders of pytest cannot be entered by another user.
    with tempfile.TemporaryDirectory(prefix="postgres-") as made:
        yield from _serve(Path(made), initdb, server)


def _serve(folder: Path, initdb: str, server: str) -> Iterator[Postgres]:
    (folder / "password").write_text(PASSWORD)
    as_user: dict[str, Any] = {"cwd": "/"}
    if os.geteuid() == 0:
        known = {one.pw_name: one for one in pwd.getpwall()}
        user = known.get("postgres", known["nobody"])
        as_user |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        for path in (folder, folder / "password"):
            os.chown(path, user.pw_uid, user.pw_gid)
    options = ("-D", str(folder / "data"), "-U", USER, "-A", "md5", "--pwfile", str(folder / "password"), "--no-sync")
    subprocess.run([initdb, *options], check=True, stdout=subprocess.DEVNULL, **as_user)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([server, "-D", str(folder / "data"), *arguments], stdout=log, stderr=log, **as_user)
    try:
        _await(folder / "data" / "postmaster.pid", folder / "log", process)
        yield Postgres(port)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(STARTS_WITHIN)


def _await(file: Path, log: Path, process: "subprocess.Popen[bytes]") -> None:
    ends = time.monotonic() + STARTS_WITHIN
    while not (file.exists() and file.read_text().splitlines()[READY_LINE : READY_LINE + 1] == ["ready   "]):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < ends, log.read_text()
        time.sleep(0.05)
