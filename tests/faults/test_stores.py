"""Stores that refuse: credentials that expire, disks that fill up. Readers keep what they had, and the next run goes on."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.children import digests
from tests.faults.deployment import NOW, PUTS, Deployment, Process, Undisturbed
from tests.faults.rows import after_each
from tests.upstreams import FaultServer

pytest_plugins = ["tests.datasets", "tests.stores"]

EXPIRED = {"methods": ["PUT"], "status": 400, "code": "ExpiredToken"}
PAGE = 4096


def assert_next_finishes(there: Deployment, undisturbed: Undisturbed) -> None:
    further = there.update(NOW)
    assert further.status == 0, further.err
    assert there.objects() == undisturbed.store
    assert there.ledger() == undisturbed.ledger
    assert there.leftovers() == []


@pytest.mark.slow
@pytest.mark.parametrize("puts", after_each(PUTS))
def test_credentials_that_expire_at_any_put(there: Deployment, undisturbed: Undisturbed, puts: int) -> None:
    there.s3.fail(EXPIRED | {"after": puts})
    update = there.update(NOW)
    assert update.status == 1
    assert update.err.splitlines()[-1].startswith("StoreAccessDenied: s3://")
    assert "ExpiredToken" in update.err
    there.s3.fail()
    assert digests(there.base) in undisturbed.views
    assert_next_finishes(there, undisturbed)


def credentials(token: str) -> bytes:
    """What a container's credential service answers."""
    keys = {"AccessKeyId": "test", "SecretAccessKey": "test", "Token": token, "Expiration": "2100-01-01T00:00:00Z"}
    return json.dumps(keys).encode()


def test_credentials_that_were_renewed_meanwhile_are_read_again(there: Deployment, undisturbed: Undisturbed) -> None:
    password = there.folder / "password"
    password.write_text("any")
    files = {"credentials": credentials("old")}
    with FaultServer(files) as service:
        container = there.having(
            AWS_ACCESS_KEY_ID="",
            AWS_SECRET_ACCESS_KEY="",
            AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{service.url}/credentials",
            AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(password),
        )
        there.s3.gate(after=PUTS // 2)
        update = container.start_update(NOW)
        update.wait_for(lambda: there.s3.at_gate()[0])
        asked = len(service.requests)
        assert asked
        there.s3.fail({"token": "old", "status": 400, "code": "ExpiredToken"})
        files["credentials"] = credentials("new")
        there.s3.open_gate("serve")
        assert update.status == 0, update.err
        assert len(service.requests) > asked
    assert there.objects() == undisturbed.store
    assert there.leftovers() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], capture_output=True, check=True)


@dataclass(frozen=True)
class FullDisk:
    """A store on a disk that has so many pages of 4 KiB left."""

    there: Deployment
    ballast: Path


def almost_full(there: Deployment, undisturbed: Undisturbed, disk: Path, pages: int) -> FullDisk:
    there = there.at(str(disk)).having(REFORMATTERS_UPSTREAM=str(undisturbed.upstream))
    there.put(undisturbed.before)
    fill(disk / "ballast", leave=pages * PAGE)
    return FullDisk(there, disk / "ballast")


def assert_full_disk_is_told(full: FullDisk, undisturbed: Undisturbed, update: Process) -> None:
    assert update.status == 1, update.err
    assert update.err.splitlines()[-1].startswith("StoreUnavailable: "), update.err
    assert "No space left on device" in update.err
    assert digests(full.there.base) in undisturbed.views
    full.ballast.unlink()
    assert_next_finishes(full.there, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("pages", after_each(20))
def test_a_store_whose_disk_is_full_at_any_write(
    in_folder: Deployment, undisturbed: Undisturbed, small_disk: Path, pages: int
) -> None:
    full = almost_full(in_folder, undisturbed, small_disk, pages)
    update = full.there.update(NOW)
    if update.status:
        assert_full_disk_is_told(full, undisturbed, update)
    assert full.there.objects() == undisturbed.store


def fill(ballast: Path, leave: int) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError:
            file.truncate(file.tell() - leave)
