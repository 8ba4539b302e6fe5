"""Logs of runs in an object store: what the webserver shows when the pod is gone."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._check import CheckError
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.compute_log_manager import ComputeIOType

from reformatters_dagster.orchestration.compute_logs import ObjectStoreComputeLogManager

OUT, ERR = ComputeIOType.STDOUT, ComputeIOType.STDERR
KEY = ["run", "compute_logs", "step"]

type Open = Callable[..., ObjectStoreComputeLogManager]


@pytest.fixture
def open_logs(tmp_path: Path) -> Iterator[Open]:
    """Each manager is one process: they share the store, and no files."""
    with ExitStack() as opened:

        def open_(url: str = "", **config: Any) -> ObjectStoreComputeLogManager:
            (tmp_path / "logs").mkdir(exist_ok=True)
            manager = ObjectStoreComputeLogManager(url or f"file://{tmp_path}/logs", **config)
            opened.callback(manager.dispose)
            return manager

        yield open_


def write(manager: ObjectStoreComputeLogManager, text: str, key: list[str] = KEY) -> None:
    with manager.open_log_stream(key, ERR) as stream:
        assert stream is not None
        stream.write(text)


def read(manager: ObjectStoreComputeLogManager, kind: ComputeIOType = ERR) -> bytes | None:
    return manager.get_log_data_for_type(KEY, kind, 0, None)[0]


def test_another_process_reads_what_was_captured(open_logs: Open, capfd: pytest.CaptureFixture[str]) -> None:
    run = open_logs()
    with capfd.disabled(), run.capture_logs(KEY):
        print("hello from the pod", flush=True)  # noqa: T201
    webserver = open_logs()
    assert webserver.is_capture_complete(KEY)
    assert read(webserver, OUT) == b"hello from the pod\n"
    assert read(webserver, ERR) == b""


def test_an_instance_takes_it_by_name(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(f"""\
telemetry: {{enabled: false}}
compute_logs:
  module: {ObjectStoreComputeLogManager.__module__}
  class: ObjectStoreComputeLogManager
  config: {{url: "file://{tmp_path}", upload_interval: 30}}
""")
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as instance:
        manager = instance.compute_log_manager
        assert isinstance(manager, ObjectStoreComputeLogManager)
        assert manager.upload_interval == 30
        assert manager.get_log_metadata(KEY).stderr_location == f"file://{tmp_path}/run/compute_logs/step.err"
        assert manager.get_log_metadata(KEY).stderr_download_url is None


def test_a_run_at_work_is_read_while_it_prints(open_logs: Open, capfd: pytest.CaptureFixture[str]) -> None:
    run, webserver = open_logs(upload_interval=1), open_logs()
    with capfd.disabled(), run.capture_logs(KEY):
        print("first", flush=True)  # noqa: T201
        end = time.monotonic() + 20
        while not (seen := read(webserver, OUT)) and time.monotonic() < end:
            time.sleep(0.1)
        assert seen == b"first\n"
        assert not webserver.is_capture_complete(KEY)
    assert webserver.is_capture_complete(KEY)
    assert not webserver.cloud_storage_has_logs(KEY, OUT, partial=True)


def test_a_store_that_is_down_costs_lines_and_no_run(open_logs: Open, caplog: pytest.LogCaptureFixture) -> None:
    run = open_logs()
    logs = Path(run.display_path_for_type([""], OUT).removeprefix("file://")).parent
    logs.chmod(0o500)
    logs.rename(logs.with_name("elsewhere"))
    logs.write_text("a file where the folder was")
    with caplog.at_level(logging.WARNING):
        write(run, "lost")
    assert "logs were not stored: file://" in caplog.text
    assert "run/compute_logs/step.err" in caplog.text


def test_logs_are_deleted_by_key_and_by_prefix_and_never_all(open_logs: Open) -> None:
    manager = open_logs()
    write(manager, "one")
    write(manager, "two", ["run", "compute_logs", "other"])
    write(manager, "three", ["another", "compute_logs", "step"])
    assert manager.get_log_keys_for_log_key_prefix(KEY[:2], ERR) == [["run", "compute_logs", "other"], KEY]
    manager.delete_logs(log_key=KEY)
    assert read(open_logs()) is None
    assert manager.get_log_keys_for_log_key_prefix(KEY[:2], ERR) == [["run", "compute_logs", "other"]]
    manager.delete_logs(prefix=["run"])
    assert manager.get_log_keys_for_log_key_prefix(KEY[:2], ERR) == []
    assert open_logs().cloud_storage_has_logs(["another", "compute_logs", "step"], ERR)
    with pytest.raises(CheckError, match="Must pass in either `log_key` or `prefix`"):
        manager.delete_logs(prefix=[])
    assert open_logs().cloud_storage_has_logs(["another", "compute_logs", "step"], ERR)
