"""A failure is waited out or told with what to do, and never taken for absence."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import zarr
from obstore.exceptions import BaseError

from reformatters_dagster.core.spec.errors import StoreAccessDenied, StoreUnavailable
from reformatters_dagster.core.spec.retries import STORE_PATIENCE
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.stores import open_store
from tests.stores import S3Bucket, Silence

pytest_plugins = ["tests.stores"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_throttling_is_waited_out(s3: S3Bucket, remote: Store, pauses: list[float], status: int) -> None:
    s3.server.fail({"methods": ["PUT"], "status": status, "times": 3})
    remote.put("x", b"1")
    assert remote.get("x")[0] == b"1"
    assert len(pauses) == 3
    assert all(half <= pause <= 2 * half for pause, half in zip(pauses, (0.25, 0.5, 1.0), strict=True))


@pytest.mark.parametrize("only_if", [None, "absent"])
def test_throttling_without_end(s3: S3Bucket, remote: Store, pauses: list[float], only_if: str | None) -> None:
    s3.server.fail({"methods": ["PUT"], "status": 503, "code": "SlowDown"})
    with pytest.raises(StoreUnavailable, match=r"a/v1\.zarr/x: put failed: .*503.*check URL, endpoint and network"):
        remote.put("x", b"1", only_if=only_if)
    assert len(pauses) == STORE_PATIENCE.attempts - 1
    assert remote.get_or_none("x") is None


def test_half_a_body_is_asked_for_again(s3: S3Bucket, remote: Store, pauses: list[float]) -> None:
    remote.put("x", b"1" * 100_000)
    s3.server.fail({"methods": ["GET"], "cut_body": True, "times": 1})
    assert len(remote.get("x")[0]) == 100_000
    assert len(pauses) == 1


UNREACHABLE = "http://127.0.0.1:9"

ASK: dict[str, Callable[[Store], object]] = {
    "get": lambda store: store.get_or_none("x"),
    "head": lambda store: store.exists("x"),
    "list": lambda store: store.list(),
    "put": lambda store: store.put("x", b""),
    "create": lambda store: store.put("x", b"", only_if="absent"),
    "delete": lambda store: store.delete("x"),
}
ask = pytest.mark.parametrize("ask", ASK.values(), ids=ASK.keys())


@ask
@pytest.mark.parametrize(("status", "code"), [(401, "Unauthorized"), (403, "AccessDenied"), (400, "ExpiredToken")])
def test_denied_credentials_are_not_absence(
    s3: S3Bucket, remote: Store, pauses: list[float], ask: Callable[[Store], object], status: int, code: str
) -> None:
    s3.server.fail({"status": status, "code": code})
    with pytest.raises(
        StoreAccessDenied, match=rf"{s3.url}/a/v1.zarr.* was denied: .*{status}.*AWS_ACCESS_KEY_ID.*renew"
    ):
        ask(remote)
    assert pauses == []


@ask
def test_missing_credentials_are_not_absence(
    s3: S3Bucket, pauses: list[float], monkeypatch: pytest.MonkeyPatch, ask: Callable[[Store], object]
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", UNREACHABLE)
    store = open_store(s3.url, "a", patience=replace(STORE_PATIENCE, sleep=pauses.append))
    with pytest.raises(StoreAccessDenied, match="credentials are read from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"):
        ask(store)
    assert pauses == []


@ask
def test_a_wrong_endpoint_is_not_absence(
    s3: S3Bucket, pauses: list[float], monkeypatch: pytest.MonkeyPatch, ask: Callable[[Store], object]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", UNREACHABLE)
    store = open_store(s3.url, "a", patience=replace(STORE_PATIENCE, sleep=pauses.append))
    with pytest.raises(StoreUnavailable, match="check URL, endpoint and network") as caught:
        ask(store)
    assert not isinstance(caught.value, StoreAccessDenied)
    assert len(pauses) >= STORE_PATIENCE.attempts - 1


@ask
def test_a_missing_bucket_is_not_absence(s3: S3Bucket, ask: Callable[[Store], object]) -> None:
    with pytest.raises(StoreUnavailable, match=r"NoSuchBucket.*create the bucket, or correct the URL"):
        ask(open_store("s3://no-such-bucket-here", "a"))


def test_one_who_cannot_wait_does_not_for_a_store_that_never_answers(silence: Silence, pauses: list[float]) -> None:
    hurry = replace(STORE_PATIENCE, attempts=2, timeout=0.3, asked_for=30.0, sleep=pauses.append)
    store = open_store(silence.url, "a/v1.zarr", patience=hurry)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="whether the object is there is not known"):
        store.get_or_none("zarr.json")
    assert len(pauses) == 1
    with pytest.raises(BaseError):
        zarr.open_array(store.reader(), path="time", mode="r")
    assert time.monotonic() - began < 5.0


def test_nothing_more_is_asked_of_a_store_once_the_time_is_over(base: str, store: Store) -> None:
    store.put("key", b"old")
    late = open_store(base, "a/v1.zarr", patience=replace(STORE_PATIENCE, asked_for=0.0))
    if not base.startswith("s3://"):
        assert late.get("key")[0] == b"old", "nobody waits for a folder"
        return
    words = r"was not begun: for 0 s the store was asked, and is asked for nothing more; the next look asks"
    for ask in (lambda: late.get("key"), lambda: late.put("key", b"new", only_if="absent"), late.reader):
        with pytest.raises(StoreUnavailable, match=words):
            ask()
    assert store.get("key")[0] == b"old"
