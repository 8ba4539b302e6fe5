"""One writer per partition: a lease object in the dataset's internal location, kept alive while its holder works.

In: a store, a partition, who asks. Out: the right to write the partition, or a refusal that names the holder.

No clocks are compared between machines. The one who asks watches the object: a lease that does not change for its time to
live is dead.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Event, Lock, Thread
from typing import Self
from uuid import uuid4

from reformatters_dagster.core.spec.errors import LeaseHeld, ObjectMoved, ReformatError
from reformatters_dagster.core.spec.retries import STORE_PATIENCE
from reformatters_dagster.core.spec.values import Frozen, Time, Timedelta, Timestamp
from reformatters_dagster.core.store.location import Etag, Store

log = logging.getLogger(__name__)

FOLDER = "lease"
UNKNOWN = "a holder that its lease does not name"
PATIENCE = 5.0
"""Seconds to wait, when the lease ends, for a renewal that has begun."""
SWEPT_AFTER = Timedelta("30min")
"""A lease that has not changed for so long is swept. A live one changes four times a minute, or is between two steps."""
LOOKED_WITHIN = Timedelta("15min")
"""Looks of a sweeper that lie further apart say nothing of what a lease did between them."""
SWEEPER = "sweeper"
RENEWALS = 3
"""Tries at a renewal that steps of the same run cross."""


@dataclass(frozen=True, kw_only=True)
class LeaseTerms:
    """How long a lease lives without a sign of life, and how often it gives one. Times in seconds."""

    time_to_live: float = 120.0
    """More than `put_timeout` and a heartbeat together."""
    heartbeat: float = 15.0
    look_again: float = 5.0
    """Between looks at a lease that may be dead."""
    put_timeout: float = STORE_PATIENCE.timeout
    """How long after its beginning a put may land. A lease that lives less long cannot cover it, and is only looked at."""
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    @property
    def covered(self) -> float:
        """How much longer a lease must live when a put begins."""
        return self.put_timeout if self.time_to_live > self.put_timeout else 0.0


DEFAULT_TERMS = LeaseTerms()


class _Lease:
    """The lease object of one partition, as one holder writes it."""

    def __init__(
        self, store: Store, partition: str, holder: str = "", attempt: str = "", terms: LeaseTerms = DEFAULT_TERMS
    ) -> None:
        self.store = store
        self.key = f"{FOLDER}/{partition}.json"
        self.partition = partition
        self.holder = holder
        self.attempt = attempt
        self.terms = terms
        self.etag: Etag | None = None
        self._renewed = 0.0
        """When the last sign of life was begun, on the clock of the terms."""
        self._lock = Lock()

    def write(self, expected: Etag | None) -> None:
        """Put the object in the place of the expected version, or of none. Raises `ObjectMoved` when another is there."""
        begun = self.terms.clock()
        # Other bytes at every beat: where ETags are digests, as on S3, equal ones would show no sign of life.
        document = json.dumps({"holder": self.holder, "attempt": self.attempt, "beat": uuid4().hex}).encode()
        self.etag = self.store.put(self.key, document, only_if="absent" if expected is None else expected)
        self._renewed = begun

    def renew(self) -> bool:
        """Show a sign of life; returns whether this attempt still holds the lease."""
        with self._lock:
            return self._renew()

    def _renew(self) -> bool:
        try:
            self.write(self.etag)
        except ObjectMoved:
            found = self.found()
            if found is None or not self.is_own(found):
                return False
            self.etag = found.etag  # another step of the same run
        return True

    def outlasts_a_put(self) -> bool:
        """Whether nobody can take the lease before a put that begins now has landed; renews it where that is not so."""
        with self._lock:
            for _ in range(RENEWALS):
                if self._covers_a_put():
                    return True
                if not self._renew():
                    return False
            return self._covers_a_put()

    def _covers_a_put(self) -> bool:
        lived = self.terms.clock() - self._renewed if self.terms.covered else 0.0
        return self.terms.time_to_live - lived >= self.terms.covered

    def found(self) -> "_Found | None":
        """The lease that is in place, whoever holds it."""
        found = self.store.get_or_none(self.key)
        if found is None:
            return None
        try:
            document = json.loads(found[0])
            return _Found(str(document["holder"]), str(document.get("attempt", "")), found[1])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            log.warning(
                "partition=%s lease at %s/%s cannot be read: %s", self.partition, self.store.url, self.key, error
            )
            return _Found(UNKNOWN, "", found[1])

    def is_own(self, found: "_Found | None") -> bool:
        """Whether this attempt holds the lease, in this step or in another."""
        return found is not None and (found.holder, found.attempt) == (self.holder, self.attempt)

    def release(self) -> None:
        """Remove the object. When that fails it expires, and the error is only logged: it must not hide what ended the block."""
        try:
            if self.is_own(self.found()):
                self.store.delete(self.key)
        except ReformatError as error:
            log.warning("partition=%s lease could not be released and will expire: %s", self.partition, error)


@dataclass(frozen=True)
class _Found:
    """Who holds a lease, and the version of the object that says so."""

    holder: str
    attempt: str
    etag: Etag


class Sign(Frozen):
    """What a lease says, and since when it is seen to say so."""

    lease: str
    """The whole document; empty where there is none."""
    since: Time
    seen: Time | None = None
    """When it was looked at last."""

    @classmethod
    def at_look(cls, lease: str, before: Self | None, now: Timestamp, looked_within: Timedelta) -> Self:
        """What a look sees now. It counts as unchanged only where the look before lies at most `looked_within` back."""
        since = now
        if before is not None and before.seen is not None and before.lease == lease:
            since = before.since if Timedelta(0) <= now - before.seen <= looked_within else now
        return cls(lease=lease, since=since, seen=now)


def leased_partitions(store: Store) -> set[str]:
    """Partitions that have a lease, of a holder who lives or of one that has died with it."""
    return {key.rpartition("/")[2].removesuffix(".json") for key, _ in store.list(FOLDER)}


def sweep_leases(
    store: Store, seen: Mapping[str, Sign], now: Timestamp, looked_within: Timedelta = LOOKED_WITHIN
) -> dict[str, Sign]:
    """Remove the leases that have not changed for `SWEPT_AFTER`, and return what the others say, by partition.

    Parameters
    ----------
    seen : mapping
        What the last look returned; empty if that was forgotten. Two looks lie a heartbeat or more apart.
    now : Timestamp
        By the clock of the one who looks. It is never compared with that of a holder.
    looked_within : Timedelta
        How far apart two looks may lie: a store that was out for longer hid the signs of life, and a clock that was put right
        tells nothing.
    """
    signs: dict[str, Sign] = {}
    for partition in sorted(leased_partitions(store)):
        found = store.get_or_none(f"{FOLDER}/{partition}.json")
        if found is None:
            continue
        sign = Sign.at_look(found[0].decode(errors="replace"), seen.get(partition), now, looked_within)
        if now - sign.since < SWEPT_AFTER:
            signs[partition] = sign
            continue
        sweeper = _Lease(store, partition, SWEEPER)
        try:
            sweeper.write(
                found[1]
            )  # no condition holds for a delete: a holder who wakes now would lose a lease of its own
        except ObjectMoved:
            continue
        sweeper.release()
        log.warning(
            "partition=%s lease is swept: it has not changed since %s", partition, f"{sign.since:%Y-%m-%dT%H:%M}"
        )
    return signs


def lease_holders(store: Store) -> set[str]:
    """Everyone who holds a lease of any partition, or has died with one."""
    found = (_Lease(store, partition).found() for partition in leased_partitions(store))
    return {lease.holder for lease in found if lease is not None}


@contextmanager
def hold_lease(
    store: Store,
    partition: str,
    holder: str,
    *,
    attempt: str = "",
    keep: bool = False,
    keep_on_error: bool = False,
    terms: LeaseTerms = DEFAULT_TERMS,
) -> Iterator[Callable[[], None]]:
    """Hold a partition's lease while the block runs.

    A lease that the same holder left behind, in an earlier step or a killed attempt, is taken over at once. Another holder's
    is taken over only after it has shown no sign of life for its time to live.

    Parameters
    ----------
    store : Store
        The dataset's internal location.
    holder : str
        Who asks: the root run.
    attempt : str
        Which of the runs with this root. Steps of one attempt share the lease; an earlier attempt loses it to a later one.
    keep : bool
        Leave the lease in place when the block ends well, for a later step of the same run.
    keep_on_error : bool
        Leave it when the block raises too, for steps of the same run that work beside this one. It expires when they end.

    Yields
    ------
    callable
        Raises `LeaseHeld` when the lease was lost meanwhile, or cannot be renewed for as long as a put may take to land. Call it
        before each put that readers will see: see `StoreSet.guarded`.

    Raises
    ------
    LeaseHeld
        When another holder is at work.
    """
    lease = _Lease(store, partition, holder, attempt, terms)
    _acquire(lease, terms)
    kept = False
    try:
        with _kept_alive(lease, terms) as lost:
            yield partial(_check, lease, lost)
        kept = keep
    except BaseException:
        kept = keep_on_error
        raise
    finally:
        if not kept:
            lease.release()


def _check(lease: _Lease, lost: Event) -> None:
    held = f"the lease of partition {lease.partition} was held by {lease.holder!r}"
    if lost.is_set() or not lease.is_own(lease.found()):
        raise LeaseHeld(f"{held}; another writer took it meanwhile")
    if not lease.outlasts_a_put():
        raise LeaseHeld(
            f"{held}; it could not be renewed for the {lease.terms.covered:.0f} s in which a put may land, and another writer "
            "may take it before: run the partition again"
        )


def _acquire(lease: _Lease, terms: LeaseTerms) -> None:
    """Take a lease that is free, this holder's own or dead; raises `LeaseHeld` on a sign of life of another holder."""
    watched: Etag | None = None
    since = terms.clock()
    while True:
        found = lease.found()
        try:
            if found is None or found.holder == lease.holder:
                lease.write(None if found is None else found.etag)
                return
            if found.etag == watched and terms.clock() - since >= terms.time_to_live:
                log.warning(
                    "partition=%s lease of %s shows no sign of life and is taken over", lease.partition, found.holder
                )
                lease.write(found.etag)
                return
        except ObjectMoved:
            continue
        if watched is not None and found.etag != watched:
            raise LeaseHeld(
                f"partition {lease.partition} was to be written by {lease.holder!r}; {found.holder!r} is writing it: wait "
                "for that run, or end it"
            )
        if watched is None:
            watched, since = found.etag, terms.clock()
            log.warning(
                "partition=%s another run, %s, is writing this partition; waiting up to %.0f s for a sign of life of it: this "
                "run gives way to one that lives, and takes over from one that does not",
                lease.partition,
                found.holder,
                terms.time_to_live,
            )
        terms.sleep(terms.look_again)


@contextmanager
def _kept_alive(lease: _Lease, terms: LeaseTerms) -> Iterator[Event]:
    """Renew a lease while the block runs; yields what is set when another writer has taken it."""
    stop, lost = Event(), Event()
    heart = Thread(target=_beat, args=(lease, terms, stop, lost), name=f"lease-{lease.partition}", daemon=True)
    heart.start()
    try:
        yield lost
    finally:
        stop.set()
        heart.join(PATIENCE)


def _beat(lease: _Lease, terms: LeaseTerms, stop: Event, lost: Event) -> None:
    """Renew a lease until it is told to stop, or the lease is lost. A store that is out does not end it."""
    while not stop.wait(terms.heartbeat):
        try:
            if not lease.renew():
                lost.set()
                return
        except ReformatError as error:
            log.warning("partition=%s lease could not be renewed: %s", lease.partition, error)
