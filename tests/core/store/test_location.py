"""Objects go in whole and come out the same, conditions hold, and no failure is ever taken for absence."""

import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import zarr
from obstore.exceptions import BaseError

from reformatters_dagster.core.spec.errors import ObjectMoved, Refused, StoreAccessDenied, StoreUnavailable
from reformatters_dagster.core.spec.retries import STORE_PATIENCE
from reformatters_dagster.core.store.location import PART_BYTES, Store
from reformatters_dagster.core.store.stores import open_store
from tests.stores import KEYS_PER_PAGE, S3Bucket, Silence

UNREACHABLE = "http://127.0.0.1:9"
type Pauses = list[float]

pytest_plugins = ["tests.stores"]


@pytest.fixture
def pauses() -> Pauses:
    """Seconds that the store of `remote` would have waited."""
    return []


@pytest.fixture
def remote(s3: S3Bucket, pauses: Pauses) -> Store:
    return open_store(s3.url, "a/v1.zarr", patience=replace(STORE_PATIENCE, sleep=pauses.append))


@pytest.fixture(params=["folder", "memory", "s3"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The same contract on each kind of store."""
    if request.param == "s3":
        bucket: S3Bucket = request.getfixturevalue("s3")
        return bucket.url
    return str(tmp_path) if request.param == "folder" else f"memory://{uuid4()}"


@pytest.fixture
def store(base: str) -> Store:
    return open_store(base, "a/v1.zarr", patience=replace(STORE_PATIENCE, sleep=lambda _: None))


def test_what_is_put_is_got(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")
    etag = store.put("x/c/0/0", b"bytes")
    store.put("x/c/0/1", tmp_path / "file")
    assert store.get("x/c/0/0") == (b"bytes", etag)
    assert store.head("x/c/0/0") == (5, etag)
    assert store.get("x/c/0/1")[0] == b"from a file"
    assert store.list() == [("x/c/0/0", 5), ("x/c/0/1", 11)]


def test_what_was_never_put_is_absent(store: Store) -> None:
    assert store.get_or_none("zarr.json") is None
    assert not store.exists("zarr.json")
    assert store.list("x") == []
    store.delete("zarr.json")
    for read in (store.get, store.head):
        with pytest.raises(FileNotFoundError, match=r"a/v1\.zarr/zarr\.json does not exist"):
            read("zarr.json")


def test_a_deleted_object_is_absent(store: Store) -> None:
    store.put("x", b"1")
    store.delete("x")
    assert not store.exists("x")


def test_partition_keys_stay_readable(store: Store) -> None:
    store.put("ledger/2026-07-29T18:00.json", b"{}")
    assert store.list("ledger") == [("ledger/2026-07-29T18:00.json", 2)]
    assert store.get("ledger/2026-07-29T18:00.json")[0] == b"{}"


def test_a_prefix_is_whole_segments(store: Store) -> None:
    for key in ("ledger/1", "ledgers/2", "x/ledger/3"):
        store.put(key, b"")
    assert store.list("ledger") == [("ledger/1", 0)]


def test_create_only(store: Store) -> None:
    etag = store.put("x", b"first", only_if="absent")
    with pytest.raises(
        ObjectMoved, match=r"only if nothing stands there; found its ETag is .* another writer was first"
    ):
        store.put("x", b"second", only_if="absent")
    assert store.get("x") == (b"first", etag)


def test_compare_and_swap(store: Store) -> None:
    old = store.put("x", b"1")
    new = store.put("x", b"2", only_if=old)
    assert new != old
    with pytest.raises(ObjectMoved, match="only if its ETag is"):
        store.put("x", b"3", only_if=old)
    with pytest.raises(ObjectMoved, match="found nothing stands there"):
        store.put("never", b"3", only_if=old)
    assert store.get("x") == (b"2", new)


def test_of_racing_creators_one_wins(store: Store) -> None:
    def create(_: int) -> bool:
        try:
            store.put("x", b"the same bytes", only_if="absent")
        except ObjectMoved:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(create, range(48))) == 1


def test_racing_swaps_lose_nothing(store: Store) -> None:
    store.put("x", b"0")

    def add_one(_: int) -> None:
        while True:
            found, etag = store.get("x")
            try:
                store.put("x", str(int(found) + 1).encode(), only_if=etag)
            except ObjectMoved:
                continue
            return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add_one, range(24)))
    assert store.get("x")[0] == b"24"


def test_readers_open_it(store: Store) -> None:
    store.put("zarr.json", json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"id": 7}}).encode())
    group = zarr.open_group(store.reader(), mode="r")
    assert group.attrs["id"] == 7
    with pytest.raises(ValueError, match="read-only"):
        group.create_array("x", data=np.zeros(1))


def test_a_folder_is_made_by_the_first_put_only(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "stores"), "a/v1.zarr")
    assert not store.exists("zarr.json")
    assert list(tmp_path.iterdir()) == []
    store.put("zarr.json", b"{}", only_if="absent")
    assert (tmp_path / "stores/a/v1.zarr/zarr.json").read_bytes() == b"{}"
    assert [path.name for path in (tmp_path / "stores/a/v1.zarr").iterdir()] == ["zarr.json"]
    assert sorted(path.name for path in (tmp_path / "stores/a").iterdir()) == [".v1.zarr.lock", "v1.zarr"]


def test_folders_by_url_and_by_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "with a space"
    open_store(folder.as_uri(), "a").put("x", b"1")
    monkeypatch.chdir(tmp_path)
    relative = open_store("with a space", "a")
    assert relative.get("x")[0] == b"1"
    assert relative.url == str(folder / "a")


def test_a_file_in_the_place_of_a_folder_is_not_absence(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for path in ("taken", "taken/below"):
        store = open_store(str(tmp_path), path)
        with pytest.raises(StoreUnavailable, match=r"taken.*whether the object is there is not known: check the path"):
            store.get_or_none("zarr.json")
        for only_if in (None, "absent"):
            with pytest.raises(StoreUnavailable, match=r"taken.*failed: .*check the path"):
                store.put("zarr.json", b"", only_if=only_if)


def test_memory_is_shared_within_the_process() -> None:
    base = f"memory://{uuid4()}"
    open_store(base, "a").put("x", b"1")
    assert open_store(base, "a").get("x")[0] == b"1"
    assert open_store(base, "b").get_or_none("x") is None


@pytest.mark.parametrize("url", ["s4://bucket", "http://host/path", "s3://", "file://relative"])
def test_what_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(Refused, match=r"was asked for; .*(s3://|correct the URL|file:///)"):
        open_store(url, "a")


def test_an_account_that_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StoreAccessDenied, match=r"az://container/a: open was denied.*AZURE_STORAGE_ACCOUNT_NAME"):
        open_store("az://container", "a")


def test_every_page_of_a_long_list(remote: Store) -> None:
    keys = [f"many/{i:04d}" for i in range(2 * KEYS_PER_PAGE + 1)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: remote.put(key, b""), keys))
    assert [key for key, _ in remote.list("many")] == keys


def test_a_large_file_goes_up_in_parts(remote: Store, tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(PART_BYTES + 1)
    (tmp_path / "shard").write_bytes(content)
    etag = remote.put("x/c/0", tmp_path / "shard")
    assert etag.strip('"').endswith("-2")
    assert remote.get("x/c/0")[0] == content


@pytest.mark.parametrize("status", [429, 500, 503])
def test_throttling_is_waited_out(s3: S3Bucket, remote: Store, pauses: Pauses, status: int) -> None:
    s3.server.fail({"methods": ["PUT"], "status": status, "times": 3})
    remote.put("x", b"1")
    assert remote.get("x")[0] == b"1"
    assert len(pauses) == 3
    assert all(half <= pause <= 2 * half for pause, half in zip(pauses, (0.25, 0.5, 1.0), strict=True))


@pytest.mark.parametrize("only_if", [None, "absent"])
def test_throttling_without_end(s3: S3Bucket, remote: Store, pauses: Pauses, only_if: str | None) -> None:
    s3.server.fail({"methods": ["PUT"], "status": 503, "code": "SlowDown"})
    with pytest.raises(StoreUnavailable, match=r"a/v1\.zarr/x: put failed: .*503.*check URL, endpoint and network"):
        remote.put("x", b"1", only_if=only_if)
    assert len(pauses) == STORE_PATIENCE.attempts - 1
    assert remote.get_or_none("x") is None


def test_half_a_body_is_asked_for_again(s3: S3Bucket, remote: Store, pauses: Pauses) -> None:
    remote.put("x", b"1" * 100_000)
    s3.server.fail({"methods": ["GET"], "cut_body": True, "times": 1})
    assert len(remote.get("x")[0]) == 100_000
    assert len(pauses) == 1


def test_a_lost_answer_to_a_conditional_put_is_looked_up(s3: S3Bucket, remote: Store) -> None:
    lost = {"methods": ["PUT"], "drop_answer": True, "times": 1}
    s3.server.fail(lost)
    created = remote.put("x", b"1", only_if="absent")
    s3.server.fail(lost)
    swapped = remote.put("x", b"2", only_if=created)
    assert remote.get("x") == (b"2", swapped)


def test_an_unserved_conditional_put_is_tried_again(s3: S3Bucket, remote: Store) -> None:
    s3.server.fail({"methods": ["PUT"], "status": 503, "times": 2})
    etag = remote.put("x", b"1", only_if="absent")
    assert remote.get("x") == (b"1", etag)


def test_a_lost_answer_beside_another_writer_is_no_success(s3: S3Bucket, remote: Store) -> None:
    remote.put("x", b"theirs")
    s3.server.fail({"methods": ["PUT"], "status": 503, "times": 1})
    with pytest.raises(ObjectMoved, match="only if nothing stands there"):
        remote.put("x", b"mine", only_if="absent")
    assert remote.get("x")[0] == b"theirs"


def test_two_conditional_puts_at_once_are_tried_again(s3: S3Bucket, remote: Store, pauses: Pauses) -> None:
    s3.server.fail({"methods": ["PUT"], "status": 409, "code": "ConditionalRequestConflict", "times": 3})
    etag = remote.put("x", b"1", only_if="absent")
    assert remote.get("x") == (b"1", etag)
    assert len(pauses) == 3


@pytest.mark.parametrize("status", [501, 412])
def test_a_store_without_conditional_puts(
    s3: S3Bucket, remote: Store, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """Some answer "not implemented"; some compare ETags in another spelling, and refuse every one."""
    conditional = {"methods": ["PUT"], "status": status}
    s3.server.fail({**conditional, "headers": ["If-None-Match"]}, {**conditional, "headers": ["If-Match"]})
    with caplog.at_level(logging.WARNING):
        first = remote.put("x", b"1", only_if="absent")
        remote.put("x", b"2", only_if=first)
        with pytest.raises(ObjectMoved, match="another writer was first"):
            remote.put("x", b"3", only_if=first)
    assert remote.get("x")[0] == b"2"
    assert [record.message for record in caplog.records if "does not honour conditional puts" in record.message] == [
        caplog.messages[0]
    ]


def test_google_compares_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    class Google(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(self.headers["x-goog-if-generation-match"])
            self.send_response(200)
            for name, value in {"ETag": '"e"', "x-goog-generation": "77", "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Google) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        account = {"gcs_base_url": f"http://127.0.0.1:{server.server_port}", "disable_oauth": True}
        unused = {"client_email": "", "private_key": "", "private_key_id": ""}
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account | unused))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        store = open_store("gs://bucket", "a")
        store.put("x", b"2", only_if=store.put("x", b"1", only_if="absent"))
        server.shutdown()
    assert seen == ["0", "77"]


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
    s3: S3Bucket, remote: Store, pauses: Pauses, ask: Callable[[Store], object], status: int, code: str
) -> None:
    s3.server.fail({"status": status, "code": code})
    with pytest.raises(
        StoreAccessDenied, match=rf"{s3.url}/a/v1.zarr.* was denied: .*{status}.*AWS_ACCESS_KEY_ID.*renew"
    ):
        ask(remote)
    assert pauses == []


@ask
def test_missing_credentials_are_not_absence(
    s3: S3Bucket, pauses: Pauses, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Store], object]
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
    s3: S3Bucket, pauses: Pauses, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Store], object]
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


def test_one_who_cannot_wait_does_not_for_a_store_that_never_answers(silence: Silence, pauses: Pauses) -> None:
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
