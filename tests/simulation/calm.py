"""What is looked at once nothing goes wrong any more: store, ledger, launches, and then the replicas.

In: a deployment with its places and its upstream. Out: broken promises, by name, each with one example.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from reformatters_dagster.core.spec.errors import NothingSucceeded
from tests.simulation import promises, reader
from tests.simulation.deployment import MAX_ATTEMPTS, Deployment, Run
from tests.simulation.layouts import HOUR, START
from tests.simulation.objects import Bucket
from tests.simulation.weather import Upstream

CALM = 5.5 * HOUR
"""How long nothing goes wrong at the end: longer than every cool-down but the longest."""
NEXT_HEAL = 2 * HOUR
"""Within what time a heal that may be launched again is launched, and ends."""
NEXT_UPDATE = 3 * HOUR
"""Within what time an update follows the files that it is made from."""


@dataclass(frozen=True)
class Calm:
    """The end of a simulation."""

    deployment: Deployment
    upstream: Upstream
    give_up_age: pd.Timedelta
    began: float

    def broken(self) -> Iterator[tuple[str, str]]:
        """Promise and example of what is wrong with store, ledger and launches."""
        primary, internal, told = self.deployment.primary, self.deployment.internal, set[str]()
        for promise, detail in promises.truth_after_calm(primary, internal, self.upstream, self._is_awaited):
            if promise not in told:
                told.add(promise)
                yield promise, detail
        last = self.deployment.runs[-1] if self.deployment.runs else None
        if last is not None and self._now - self.deployment.last_launch < HOUR and not self._is_in_vain(last):
            yield "launches end", f"{last.process.name} was launched in the last hour of calm"

    @property
    def lasts_until(self) -> float:
        """When a heal has ended that what is left behind waits for, and that cooled down; the time now where nothing is left."""
        is_left = any(promises.left_behind(self.deployment.primary, self.deployment.internal, self.upstream))
        return max(self._now, self.deployment.cools_until + NEXT_HEAL) if is_left else self._now

    @property
    def needs_next_update(self) -> bool:
        """Whether the next update mends a replica: one that was left out, or one with documents that no root shows yet."""
        differing = {key for replica in self.deployment.replicas for key in self._differing(replica)}
        is_ahead = reader.ROOT not in differing and any(not promises.is_shard(key) for key in differing)
        return is_ahead or bool(self.deployment.internal.below("degraded"))

    def broken_places(self) -> Iterator[tuple[str, str]]:
        """Promise and example of what is wrong with notes and replicas."""
        primary = self.deployment.primary
        if left := list(promises.left_behind(primary, self.deployment.internal, self.upstream)):
            yield "nothing is left", ", ".join(left)
        # What a killed run has replaced of a shard that waits for a forced run differs until that comes.
        shards = promises.shards(primary, self.upstream.layout)
        waiting = tuple(f"{name}/c/{shard}/" for shard in shards for name in self._stuck(shard))
        for replica in self.deployment.replicas:
            told = [key for key in self._differing(replica) if not key.startswith(waiting)]
            if told:
                yield "replicas are equal", f"{replica.name} differs in {', '.join(told[:5])}"

    def _differing(self, replica: Bucket) -> list[str]:
        theirs, ours = replica.content(), self.deployment.primary.content()
        differing = sorted(key for key in theirs | ours if theirs.get(key) != ours.get(key))
        return [key for key in differing if key not in self.deployment.primary.lost]

    @property
    def _now(self) -> float:
        return self.deployment.scheduler.now

    def _stuck(self, shard: int) -> list[str]:
        return promises.stuck(self.deployment.primary, self.deployment.internal, self.upstream, shard)

    def _is_in_vain(self, run: Run) -> bool:
        """Whether a run is one of those that are tried again for ever, less and less often, or one that had to wait until now.

        What is tried for the first times may have waited for other heals; what was tried in vain has cooled down.
        """
        in_calm = [one for one in self.deployment.runs if one.label == run.label and one.created >= self.began]
        if run.number <= MAX_ATTEMPTS < len(in_calm):
            return False
        tried = [one for one in in_calm if one.fingerprint == run.fingerprint]
        if run.number > MAX_ATTEMPTS and tried == [run] and not self.deployment.is_wanted_again(run):
            return True
        shard = self.upstream.layout.file_of(run.label) // self.upstream.layout.shard
        if isinstance(run.error, NothingSucceeded) or self._stuck(shard):
            return True
        return promises.waits_in_vain(self.deployment.internal, self.upstream, shard)

    def _is_awaited(self, shard: int) -> bool:
        """Whether the give-up age of a shard's last label lies ahead."""
        layout = self.upstream.layout
        last = layout.label_of((shard + 1) * layout.shard - 1)
        return bool(START + pd.Timedelta(seconds=self._now) - last < self.give_up_age)
