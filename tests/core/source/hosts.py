"""Files at a host that misbehaves, and a clock that only sleeping moves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import pytest

from reformatters_dagster.core.source.archives import Archive
from reformatters_dagster.core.spec.retries import Patience
from reformatters_dagster.core.spec.sources import SourceArchive
from tests.upstreams import FaultServer

DATA = bytes(i * i % 251 for i in range(5000))
DAY, FILE = "gfs.20260729", "18/atmos/gfs.t18z.pgrb2.0p25.f000"
KEY = f"{DAY}/{FILE}"
FILES = {
    f"noaa/{KEY}": DATA,
    "noaa/empty": b"",
    "noaa/Days:1-10/a b+c.grib2": b"colon",
    "long.html": bytes(6000),
    "short.html": bytes(6),
}
NOMADS = {302: "throttled", 403: "missing", 404: "missing", 429: "throttled"}
type Ask = Callable[[Archive], object]
ASKS: dict[str, Ask] = {
    "head": lambda archive: archive.head(KEY),
    "get": lambda archive: archive.get(KEY),
    "range": lambda archive: archive.get_ranges(KEY, [(10, 1000)]),
    "ranges": lambda archive: archive.get_ranges(KEY, [(10, 1000), (2000, 2100)]),
    "open range": lambda archive: archive.get_ranges(KEY, [(10, 1000), (4000, None)]),
}
each_ask = pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)


@dataclass
class FakeTime:
    """A clock that only sleeping moves, and not even that once it `stands_still`."""

    now: float = 0.0
    stands_still: bool = False
    sleeps: list[float] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.sleeps.append(round(seconds, 6))
            self.now += 0.0 if self.stands_still else seconds

    def patience(self, **changes: Any) -> Patience:
        return Patience(sleep=self.sleep, clock=lambda: self.now, jitter=lambda low, high: (low + high) / 2, **changes)


def source(**changes: Any) -> SourceArchive:
    return SourceArchive.model_validate({"url": "https://nomads.example/pub", "folder": "noaa", **changes})


def over_http(
    server: FaultServer, time: FakeTime, answers: Mapping[int, str] | None = None, **patience: Any
) -> Archive:
    """The archive as the server has it, with the default table of statuses when `answers` is not given."""
    archive = source() if answers is None else source(answers=answers)
    return Archive(archive, mirror=server.url, patience=time.patience(**patience))


def check_listing(archive: Archive) -> None:
    day = [f"gfs.20260729/{i}" for i in range(7)]
    assert archive.can_list
    assert [info.key for info in archive.list("gfs.20260729")] == day
    assert [info.key for info in archive.list("")] == ["gfs.20260728/9", *day]
    assert [info.key for info in archive.list("gfs.20260729/", start_after=day[1], limit=4)] == day[2:6]
    assert list(archive.list("gfs.2026")) == []
    assert next(archive.list("gfs.20260729", limit=1)) == archive.head(day[0])
