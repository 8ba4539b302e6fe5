"""Indexes that several coords share: fetched once, by one thread, and anew once they are found to be wrong."""

from concurrent.futures import ThreadPoolExecutor
from time import sleep

import pandas as pd
import pytest

from reformatters_dagster.core.job.indexed_grib_job import INDEXES_KEPT, Index, IndexCache
from reformatters_dagster.core.source.archives import FileInfo
from reformatters_dagster.core.spec.errors import SourceFileMissing

NAME = ("archive", "file")
INDEX: Index = (FileInfo(key="file", size=1, etag=None, last_modified=pd.Timestamp("2026-01-01")), [])


def fetched_by(cache: IndexCache, name: tuple[str, str] = NAME) -> bool:
    """Whether asking for an index fetched it."""
    calls: list[Index] = []

    def fetch() -> Index:
        calls.append(INDEX)
        return INDEX

    assert cache.get(name, fetch) is INDEX
    return bool(calls)


def test_threads_that_want_one_index_fetch_it_once() -> None:
    cache = IndexCache()
    with ThreadPoolExecutor(8) as pool:
        fetched = list(pool.map(lambda _: fetched_by(cache), range(50)))
    assert sum(fetched) == 1


def test_a_forgotten_index_is_fetched_anew() -> None:
    cache = IndexCache()
    assert fetched_by(cache)
    cache.forget(("archive", "other"))
    assert not fetched_by(cache)
    cache.forget(NAME)
    assert fetched_by(cache)


def test_a_failure_is_not_kept() -> None:
    cache = IndexCache()

    def fail() -> Index:
        raise SourceFileMissing("it is not there")

    with pytest.raises(SourceFileMissing, match="it is not there"):
        cache.get(NAME, fail)
    assert fetched_by(cache)


def test_the_oldest_make_room() -> None:
    cache = IndexCache()
    for number in range(INDEXES_KEPT + 1):
        assert fetched_by(cache, ("archive", str(number)))
    assert not fetched_by(cache, ("archive", "1"))
    assert fetched_by(cache, ("archive", "0"))


def test_an_index_that_was_waited_for_while_it_made_room_makes_room_again() -> None:
    """The thread that waits is held until the index is gone, then fetches it and puts it back."""
    cache = IndexCache()
    assert fetched_by(cache)
    held = cache._busy[NAME]
    others = [("archive", str(number)) for number in range(2 * INDEXES_KEPT)]
    with ThreadPoolExecutor(1) as pool:
        with held:
            waiting = pool.submit(fetched_by, cache)
            while not (waiting.running() or waiting.done()):
                sleep(0.001)
            sleep(0.1)
            assert all(fetched_by(cache, name) for name in others[:INDEXES_KEPT])
        assert waiting.result()
    assert all(fetched_by(cache, name) for name in others[INDEXES_KEPT:])
    assert fetched_by(cache)
