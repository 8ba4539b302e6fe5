"""Objects go in whole and come out the same, and conditions hold."""

import itertools
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import zarr

from reformatters_dagster.core.spec.errors import LandedLate, LeaseHeld, ObjectMoved, StoreUnavailable
from reformatters_dagster.core.spec.retries import STORE_PATIENCE
from reformatters_dagster.core.store.location import PART_BYTES, Store
from reformatters_dagster.core.store.stores import open_store
from tests.stores import KEYS_PER_PAGE, S3Bucket

pytest_plugins = ["tests.stores"]


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


def test_whatever_stands_there_is_put_over(store: Store) -> None:
    """Also where what was last seen there is unknown, or another version stands there by now."""
    first = store.put_over("x/0", b"first", None)
    assert store.etags("x") in ({"x/0": first}, {"x/0": ""}), "the latter where a list spells it otherwise"
    for found in (first, first, None, ""):
        etag = store.put_over("x/0", repr(found).encode(), found)
        assert store.get("x/0") == (repr(found).encode(), etag)
    assert store.put_over("x/1", b"it is gone", first) == store.head("x/1")[1]


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


def test_a_file_in_the_place_of_a_folder_is_not_absence(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for path in ("taken", "taken/below"):
        store = open_store(str(tmp_path), path)
        with pytest.raises(StoreUnavailable, match=r"taken.*whether the object is there is not known: check the path"):
            store.get_or_none("zarr.json")
        for only_if in (None, "absent"):
            with pytest.raises(StoreUnavailable, match=r"taken.*failed: .*check the path"):
                store.put("zarr.json", b"", only_if=only_if)


def test_every_page_of_a_long_list(remote: Store) -> None:
    keys = [f"many/{i:04d}" for i in range(2 * KEYS_PER_PAGE + 1)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: remote.put(key, b""), keys))
    assert [key for key, _ in remote.list("many")] == keys


def test_a_large_file_goes_up_in_parts(remote: Store, tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(PART_BYTES + 1)
    (tmp_path / "shard").write_bytes(content)
    for etag in (remote.put("x/c/0", tmp_path / "shard"), remote.put_over("x/c/0", tmp_path / "shard", None)):
        assert etag.strip('"').endswith("-2")
        assert remote.get("x/c/0")[0] == content


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


def test_two_conditional_puts_at_once_are_tried_again(s3: S3Bucket, remote: Store, pauses: list[float]) -> None:
    s3.server.fail({"methods": ["PUT"], "status": 409, "code": "ConditionalRequestConflict", "times": 3})
    etag = remote.put("x", b"1", only_if="absent")
    assert remote.get("x") == (b"1", etag)
    assert len(pauses) == 3


NO_CONDITIONS = {"methods": ["PUT"], "headers": ["If-None-Match"], "status": 501}
BUSY = {"methods": ["PUT"], "status": 409, "code": "OperationAborted"}
"""S3 answers so when another request for the key runs at the same time, and has then written nothing."""


def test_a_busy_create_is_no_creation_by_another(s3: S3Bucket, remote: Store) -> None:
    s3.server.fail({**BUSY, "headers": ["If-None-Match"], "times": 1})
    etag = remote.put("x", b"1", only_if="absent")
    with pytest.raises(ObjectMoved, match="only if nothing stands there; found its ETag is"):
        remote.put("x", b"1", only_if="absent")
    assert remote.get("x") == (b"1", etag)


def test_a_busy_swap_is_tried_again(s3: S3Bucket, remote: Store) -> None:
    first = remote.put("x", b"1")
    s3.server.fail({**BUSY, "headers": ["If-Match"], "times": 2})
    second = remote.put("x", b"2", only_if=first)
    assert remote.get("x") == (b"2", second)


def test_a_busy_create_that_lost_is_refused(s3: S3Bucket, remote: Store) -> None:
    remote.put("x", b"theirs")
    s3.server.fail({**BUSY, "headers": ["If-None-Match"], "times": 1})
    with pytest.raises(ObjectMoved, match="another writer was first"):
        remote.put("x", b"mine", only_if="absent")
    assert remote.get("x")[0] == b"theirs"


def test_a_create_that_stays_busy_fails_without_a_claim(s3: S3Bucket, remote: Store) -> None:
    s3.server.fail({**BUSY, "headers": ["If-None-Match"]})
    with pytest.raises(StoreUnavailable, match="whether the object is there is not known"):
        remote.put("x", b"1", only_if="absent")
    assert not remote.exists("x")


@pytest.mark.parametrize("stands", [False, True])
def test_a_put_that_was_given_up_lands_over_no_later_one(s3: S3Bucket, remote: Store, *, stands: bool) -> None:
    found = remote.put("x", b"before") if stands else None
    s3.server.fail({"methods": ["PUT"], "put_off": True, "times": 1})
    ours = remote.put_over("x", b"ours", found)
    theirs = remote.put_over("x", b"theirs", ours)
    assert s3.server.land() == [412]
    assert remote.get("x") == (b"theirs", theirs)


def test_a_busy_put_over_is_tried_again(s3: S3Bucket, remote: Store) -> None:
    found = remote.put("x", b"1")
    s3.server.fail({**BUSY, "headers": ["If-Match"], "times": 3})
    etag = remote.put_over("x", b"2", found)
    assert remote.get("x") == (b"2", etag)
    assert remote.has_conditions


@pytest.mark.parametrize("status", [501, 412])
def test_a_store_without_conditional_puts_is_put_to_all_the_same(s3: S3Bucket, remote: Store, status: int) -> None:
    conditional = {"methods": ["PUT"], "status": status}
    s3.server.fail({**conditional, "headers": ["If-None-Match"]}, {**conditional, "headers": ["If-Match"]})
    found = remote.put_over("x", b"1", None)
    assert not remote.has_conditions
    assert remote.get("x") == (b"1", found)
    found = remote.put_over("x", b"2", "another")
    assert remote.get("x") == (b"2", found)


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


def test_what_one_writer_learns_of_conditional_puts_all_learn(
    s3: S3Bucket, remote: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Each guarded copy has a writer of its own, and there is one for each partition."""
    s3.server.fail({**NO_CONDITIONS, "times": 1})
    with caplog.at_level(logging.WARNING):
        remote.guarded(lambda: None).put("x", b"1", only_if="absent")
        s3.server.fail(NO_CONDITIONS)
        remote.guarded(lambda: None).put("y", b"1", only_if="absent")
        remote.put("z", b"1", only_if="absent")
    assert len([message for message in caplog.messages if "does not honour conditional puts" in message]) == 1


@pytest.mark.parametrize(("condition", "faults"), [(None, []), ("absent", []), ("absent", [NO_CONDITIONS])])
def test_a_writer_that_lost_its_right_puts_nothing_more(
    s3: S3Bucket, remote: Store, condition: str | None, faults: list[dict[str, object]]
) -> None:
    """Each attempt asks: while a store is out, another writer may take over. One is without conditional puts."""
    asked: list[int] = []

    def check_writer() -> None:
        asked.append(len(asked))
        if len(asked) == 3:
            raise LeaseHeld("another writer took it")

    s3.server.fail(*faults, {"methods": ["PUT"], "status": 503, "times": 2})
    with pytest.raises(LeaseHeld, match="another writer took it"):
        remote.guarded(check_writer).put("x", b"1", only_if=condition)
    assert len(asked) == 3
    assert not remote.exists("x")
    remote.put("x", b"1")


@pytest.mark.parametrize("losing_ask", [1, 2, 3, 4])
def test_a_large_file_is_given_up_when_its_writer_loses_its_right(
    s3: S3Bucket, remote: Store, tmp_path: Path, losing_ask: int
) -> None:
    """Parts take longer than one request. The first ask comes before the first of three parts, the last one after the last."""
    remote.put("x", b"theirs")
    (tmp_path / "shard").write_bytes(bytes(2 * PART_BYTES + 1))
    asked: list[int] = []

    def check_writer() -> None:
        asked.append(len(asked) + 1)
        if len(asked) == losing_ask:
            raise LeaseHeld("another writer took it")

    with pytest.raises(LeaseHeld, match="another writer took it"):
        remote.guarded(check_writer).put("x", tmp_path / "shard")
    assert asked == list(range(1, losing_ask + 1))
    assert remote.get("x")[0] == b"theirs"
    assert s3.server.unfinished_uploads(s3.url) == 0


def test_a_lease_is_renewed_in_its_bucket_between_the_parts_of_a_large_file(remote: Store, tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(2 * PART_BYTES + 1)
    (tmp_path / "shard").write_bytes(content)
    renewals: list[str] = []
    etag = remote.guarded(lambda: renewals.append(remote.put("lease", b"1"))).put("x", tmp_path / "shard")
    assert len(renewals) == 4
    assert remote.get("x") == (content, etag)


def test_a_large_file_whose_parts_fail_is_uploaded_again(s3: S3Bucket, remote: Store, tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(2 * PART_BYTES + 1)
    (tmp_path / "shard").write_bytes(content)
    s3.server.fail({"methods": ["PUT"], "status": 400, "code": "RequestTimeout", "times": 1})
    etag = remote.put("x", tmp_path / "shard")
    assert remote.get("x") == (content, etag)
    assert s3.server.unfinished_uploads(s3.url) == 0


def test_puts_and_deletes_of_a_guarded_store_ask_first(store: Store) -> None:
    def refuse() -> None:
        raise LeaseHeld("another writer took it")

    store.put("x", b"1")
    guarded = store.guarded(refuse)
    for change in (
        lambda: guarded.put("x", b"2"),
        lambda: guarded.put("y", b"2", only_if="absent"),
        lambda: guarded.put_over("x", b"2", ""),
        lambda: guarded.delete("x"),
    ):
        with pytest.raises(LeaseHeld, match="another writer took it"):
            change()
    assert store.list() == [("x", 1)]
    assert guarded.get("x")[0] == b"1"
    store.guarded(lambda: None).put("x", b"3")
    assert store.get("x")[0] == b"3"


def test_a_put_that_stood_still_asks_again(s3: S3Bucket) -> None:
    """Each look at the clock is 200 s later than the one before: a put is to take 90 s at most."""
    answers = iter([True, False, True, True])

    def check_writer() -> None:
        if not next(answers):
            raise LeaseHeld("another writer took it")

    ticking = replace(STORE_PATIENCE, clock=itertools.count(0.0, 200.0).__next__)
    store = open_store(s3.url, "a", patience=ticking).guarded(check_writer)
    with pytest.raises(
        LandedLate, match=r"/x was put in 200 s, .*another writer took it.* the partition is made again"
    ):
        store.put("x", b"1")
    store.put("y", b"1")
    assert next(answers, None) is None
    assert [key for key, _ in store.list()] == ["x", "y"]
    assert [key for key, _ in store.guarded(None).list()] == ["x", "y"]


def test_a_check_may_put_to_the_folder_that_it_guards(store: Store) -> None:
    """The lease lies beside the ledger."""

    def renew() -> None:
        store.put("lease", b"1")

    store.guarded(renew).put("ledger", b"1", only_if="absent")
    assert store.list() == [("lease", 1), ("ledger", 1)]


def test_google_compares_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    class Google(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(self.headers["x-goog-if-generation-match"])
            self.do_HEAD()

        def do_HEAD(self) -> None:
            self.send_response(200)
            modified = {"Last-Modified": "Wed, 29 Jul 2026 18:00:00 GMT"}
            for name, value in {"ETag": '"e"', "x-goog-generation": "77", "Content-Length": "0", **modified}.items():
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
        store.put_over("x", b"3", "")  # as its lists tell of no generation
        server.shutdown()
    assert seen == ["0", "77", "77"]
