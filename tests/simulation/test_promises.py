"""What a look at the ledger is remembered for: for as long as nothing changes that it looks at."""

from collections.abc import Callable

import pytest

from tests.simulation.dataset import INSTANT, RATE
from tests.simulation.layouts import ANALYSIS
from tests.simulation.objects import Bucket
from tests.simulation.promises import looked_at
from tests.simulation.weather import FileEvent, Upstream

SHARD, LENGTH = 1, ANALYSIS.shard
type Change = Callable[[Bucket, Bucket, Upstream], object]


def _put(key: str) -> Change:
    return lambda primary, internal, upstream: primary.put(key, b"other")


def _note(key: str) -> Change:
    return lambda primary, internal, upstream: internal.put(key, b"other")


def _file(number: int) -> Change:
    return lambda primary, internal, upstream: upstream.happen(FileEvent(0.0, number, 2, "whole"), 0.0)


def _lose(primary: Bucket, internal: Bucket, upstream: Upstream) -> None:
    primary.lose(0.0, lambda key: key.startswith(f"{RATE}/c/1/"))


MATTERS: dict[str, Change] = {
    "root": _put("zarr.json"),
    "an object": _put(f"{INSTANT}/c/1/0/0"),
    "an object of another variable": _put(f"{RATE}/c/1/0/0"),
    "an object that vanishes": _lose,
    "its entry": _note("ledger/2026-03-01T12:00.json"),
    "a note": _note(f"progress/2026-03-01T12:00/{RATE}.json"),
    "the first file": _file(LENGTH),
    "the last file": _file(2 * LENGTH - 1),
    "the file before": _file(LENGTH - 1),
}
DOES_NOT: dict[str, Change] = {
    "an object of another shard": _put(f"{INSTANT}/c/11/0/0"),
    "the entry before": _note("ledger/2026-03-01T00:00.json"),
    "the entry after": _note("ledger/2026-03-02T00:00.json"),
    "a lease": _note("lease/2026-03-01T12:00.json"),
    "a file of another shard": _file(2 * LENGTH),
}


@pytest.mark.parametrize(("what", "change"), [*MATTERS.items(), *DOES_NOT.items()], ids=[*MATTERS, *DOES_NOT])
def test_a_shard_is_looked_at_again_when_something_has_changed(what: str, change: Change) -> None:
    primary, internal, upstream = Bucket("primary"), Bucket("internal"), Upstream(ANALYSIS)
    for key in ("zarr.json", *(f"{name}/c/{shard}/0/0" for name in (INSTANT, RATE) for shard in range(2))):
        primary.put(key, b"some")
    before = looked_at(primary, internal, upstream, SHARD)
    assert looked_at(primary, internal, upstream, SHARD) == before
    change(primary, internal, upstream)
    assert (looked_at(primary, internal, upstream, SHARD) != before) == (what in MATTERS)
