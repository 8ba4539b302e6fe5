"""What is found of stores and archives, the sound ones and those that are not as runs need them."""

from copy import copy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reformatters_dagster.core.run.readiness import Finding, Status, look_at_archive, look_at_stores
from reformatters_dagster.core.source.archives import Archive
from reformatters_dagster.core.spec.errors import StoreUnavailable
from reformatters_dagster.core.spec.retries import Patience
from reformatters_dagster.core.spec.sources import SourceArchive
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.stores import StoreSet, open_store_set
from tests.stores import S3Bucket, Silence

pytest_plugins = ["tests.stores"]

SHORT = Patience(attempts=1, timeout=2.0)
CONDITIONS = ["conditional create", "conditional replace"]


def now() -> Timestamp:
    return pd.Timestamp.now("UTC").tz_localize(None).as_unit("us")


def stores_at(base: str | Path, replica: str | Path | None = None) -> StoreSet:
    replicas = [] if replica is None else [str(replica)]
    return open_store_set(str(base), replicas, "test-set", "1.0.0", patience=SHORT)


def look(stores: StoreSet, ahead: float = 0) -> dict[str, Finding]:
    """What is found, by subject, on a machine whose clock is so many seconds ahead."""
    findings = list(look_at_stores(stores, "mine", lambda: now() + pd.Timedelta(seconds=ahead)))
    assert len({one.subject for one in findings}) == len(findings)
    return {one.subject: one for one in findings}


def statuses(findings: dict[str, Finding]) -> dict[str, Status]:
    return {subject: one.status for subject, one in findings.items()}


def test_a_folder_is_as_runs_need_it_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    findings = look(stores_at(tmp_path / "base"))
    assert statuses(findings) == dict.fromkeys(["store", *CONDITIONS, "clock"], "ok")
    assert "a lock on a file beside the folder" in findings["conditional create"].message
    left = [path for path in (tmp_path / "base").rglob("*") if path.is_file()]
    assert [path.name for path in left] == [".v1.0.0.lock"]


def test_a_bucket_is_as_runs_need_it_and_nothing_is_left_in_it(s3: S3Bucket) -> None:
    stores = stores_at(s3.url)
    assert statuses(look(stores)) == dict.fromkeys(["store", *CONDITIONS, "clock"], "ok")
    assert stores.internal.list() == []


@pytest.mark.parametrize(("ahead", "words"), [(45.0, "ahead of"), (-45.0, "behind")])
def test_a_clock_that_differs_is_told_with_the_way(tmp_path: Path, ahead: float, words: str) -> None:
    found = look(stores_at(tmp_path), ahead)["clock"]
    assert found.status == "failed"
    assert f" s {words} that of {tmp_path}" in found.message
    assert "keep it by NTP" in found.message
    assert look(stores_at(tmp_path), ahead / 2)["clock"].status == "ok"


def test_a_store_that_says_it_has_no_conditions_is_told(s3: S3Bucket) -> None:
    s3.server.fail(
        {"methods": ["PUT"], "headers": ["If-None-Match"], "status": 501, "code": "NotImplemented"},
        {"methods": ["PUT"], "headers": ["If-Match"], "status": 501, "code": "NotImplemented"},
    )
    findings = look(stores_at(s3.url))
    assert statuses(findings) == {"store": "ok", "clock": "ok"} | dict.fromkeys(CONDITIONS, "failed")
    assert "let one run at a time write there (max_concurrent_runs: 1)" in findings["conditional replace"].message


class Forgetful(Store):
    """Puts whatever the condition is, as some servers do."""

    def _mode(self, only_if: Any) -> Any:
        return "overwrite"


def test_a_store_that_ignores_conditions_is_found_out() -> None:
    stores = stores_at("memory://forgetful")
    forgetful = copy(stores.internal)
    forgetful.__class__ = Forgetful
    findings = look(StoreSet(primary=stores.primary, replicas=(), internal=forgetful))
    assert statuses(findings) == {"store": "ok", "clock": "ok"} | dict.fromkeys(CONDITIONS, "failed")
    for subject, header in zip(CONDITIONS, ["If-None-Match: *", "If-Match"], strict=True):
        assert f"although the condition ({header}) did not hold" in findings[subject].message
        assert "let no more than one process write to it" in findings[subject].message
    assert forgetful.list() == []


def test_a_store_that_cannot_be_written_is_told_and_the_rest_is_not_guessed(s3: S3Bucket) -> None:
    s3.server.fail({"methods": ["PUT"], "status": 403, "code": "AccessDenied"})
    findings = look(stores_at(s3.url))
    assert statuses(findings) == {"store": "failed"}
    assert "put was denied" in findings["store"].message
    assert "AWS_ACCESS_KEY_ID" in findings["store"].message


def test_a_probe_that_cannot_be_deleted_is_named(s3: S3Bucket) -> None:
    s3.server.fail({"methods": ["POST", "DELETE"], "status": 403, "code": "AccessDenied"})
    stores = stores_at(s3.url)
    findings = list(look_at_stores(stores, "mine", now))
    assert findings[-1].status == "failed"
    assert f"{stores.internal.url}/probe/mine.json was put and could not be deleted" in findings[-1].message


def test_a_replica_is_read_and_not_written(tmp_path: Path, silence: Silence) -> None:
    replica = tmp_path / "replica"
    findings = look(stores_at(tmp_path / "base", replica))
    url = f"replica {replica}/test-set/v1.0.0.zarr"
    assert (findings[url].status, replica.exists()) == ("ok", False)
    assert "has no store yet; it was not written to" in findings[url].message
    silent = look(stores_at(tmp_path / "base", silence.url))
    assert silent[f"replica {silence.url}/test-set/v1.0.0.zarr"].status == "failed"
    assert StoreUnavailable.__name__ not in silent[f"replica {silence.url}/test-set/v1.0.0.zarr"].message


def test_an_archive_that_answers_is_told_from_one_that_does_not(tmp_path: Path, silence: Silence) -> None:
    source = SourceArchive(url="s3://weather", folder="weather", region="us-east-1")
    absent = look_at_archive(Archive(source, mirror=str(tmp_path), patience=SHORT))
    nothing = f"{tmp_path}/weather is no folder: the mirror has nothing of this archive"
    assert absent == Finding(subject="upstream weather", status="skipped", message=nothing)
    (tmp_path / "weather").mkdir()
    answers = look_at_archive(Archive(source, mirror=str(tmp_path), patience=SHORT))
    assert answers == Finding(subject="upstream weather", status="ok", message=f"{tmp_path}/weather answers")
    silent = look_at_archive(Archive(source, mirror=silence.url, patience=SHORT))
    assert silent.status == "failed"
    assert "let this machine reach it, by a proxy if need be, or set REFORMATTERS_UPSTREAM" in silent.message
