"""A job's folder goes with the job, however that ends, and no other job's with it."""

import errno
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reformatters_dagster.core.shard.tmp_folder import tmp_folder

HOLDER = """
import sys, time
from pathlib import Path
from reformatters_dagster.core.shard.tmp_folder import tmp_folder
with tmp_folder(Path(sys.argv[1]), "noaa-gfs-forecast") as folder:
    (folder / "a chunk").write_bytes(b"x")
    print(folder, flush=True)
    time.sleep(600)
"""


def start(parent: Path) -> tuple["subprocess.Popen[str]", Path]:
    """Another process that holds a folder, and the folder."""
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(parent)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    return child, Path(child.stdout.readline().strip())


def end(child: "subprocess.Popen[str]") -> None:
    child.kill()
    child.communicate()
    assert child.returncode == -signal.SIGKILL


def test_a_folder_is_new_and_gone_afterwards(tmp_path: Path) -> None:
    with tmp_folder(tmp_path / "tmp", "metadata") as folder, tmp_folder(tmp_path / "tmp", "metadata") as other:
        assert folder != other
        assert list(folder.iterdir()) == []
        (folder / "deep").mkdir()
        (folder / "deep/file").write_bytes(b"x")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_folder_is_gone_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), tmp_folder(tmp_path, "metadata") as folder:
        folder.write_bytes(b"x")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_job_left_goes_with_the_next_of_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    child, left = start(tmp_path)
    end(child)
    assert (left / "a chunk").exists()
    with tmp_folder(tmp_path, "metadata"):
        assert left.exists()
    with tmp_folder(tmp_path, "noaa-gfs-forecast") as folder:
        assert {path.name for path in tmp_path.iterdir()} == {folder.name, f"{folder.name}.lock"}
    assert re.search(f"folder={left} was left by a job that was killed, and is removed", caplog.text)


def test_the_folder_of_a_job_that_lives_stays(tmp_path: Path) -> None:
    child, theirs = start(tmp_path)
    try:
        with tmp_folder(tmp_path, "noaa-gfs-forecast"):
            assert (theirs / "a chunk").exists()
    finally:
        end(child)


def test_a_disk_that_knows_no_locks_serves_and_is_never_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    child, left = start(tmp_path)
    end(child)
    monkeypatch.setattr("fcntl.flock", refuse)
    with tmp_folder(tmp_path, "noaa-gfs-forecast") as folder:
        assert folder.exists()
        assert left.exists()
    assert not folder.exists()
    assert "cannot be locked ([Errno 37] No locks available): if this job is killed, it stays" in caplog.text


def test_the_folder_of_another_thread_of_this_process_stays(tmp_path: Path) -> None:
    with tmp_folder(tmp_path, "noaa-gfs-forecast") as ours, tmp_folder(tmp_path, "noaa-gfs-forecast"):
        assert ours.exists()
