"""The source archives of a dataset, in the order they are asked.

In: what `dataset_defs` knows of archives, and a mirror if there is one. Out: open archives that may hold a label's files.
"""

import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from threading import Event

from reformatters_dagster.core.source.archives import Archive
from reformatters_dagster.core.source.clients import refuse_missing_mirror
from reformatters_dagster.core.source.rate_limit import RateLimit, Reserve, host_of, rate_limits
from reformatters_dagster.core.spec.retries import UPSTREAM_PATIENCE, Patience
from reformatters_dagster.core.spec.sources import SourceArchive
from reformatters_dagster.core.spec.values import Timestamp


class Upstream:
    """The source archives of a dataset, in the order in which they are asked.

    Parameters
    ----------
    archives : sequence of SourceArchive
    mirror : str, optional
        Folder or URL (`s3://`, `gs://`, `az://`, `https://`) with one folder per archive, asked instead of the real
        ones. Its host is not rate-limited; its credentials come from the environment, as obstore reads them.
    patience : Patience, optional
    share : callable, optional
        Takes a host, returns who gives its turns to the processes of a deployment; see `rate_limits`.

    Attributes
    ----------
    stop : Event
        Once it is set, waits end at once and no further request begins: calls that wait for an answer fail.

    Raises
    ------
    UpstreamMissing
        The mirror is a folder that does not exist or holds none of the archives, or no URL that can be opened.
    """

    def __init__(
        self,
        archives: Sequence[SourceArchive],
        *,
        mirror: str | None = None,
        patience: Patience | None = None,
        share: Callable[[str], Reserve] | None = None,
    ) -> None:
        patience = patience or UPSTREAM_PATIENCE
        self.stop = Event()
        if patience.sleep is time.sleep:
            patience = replace(patience, sleep=self.stop.wait)
        self._patience, self._mirror = patience, mirror
        self._limits: dict[str, RateLimit] = {}
        if mirror is None:
            self._limits = rate_limits(archives, patience, share)
        else:
            refuse_missing_mirror(mirror, archives)
        self._archives = [(source, self._open(source, patience)) for source in archives]

    def _open(self, source: SourceArchive, patience: Patience) -> Archive:
        limit = self._limits.get(host_of(source))
        return Archive(source, mirror=self._mirror, patience=patience, limit=limit, stop=self.stop)

    def asked_with(self, patience: Patience) -> "Upstream":
        """The same archives, opened anew with another patience, by the clock of this one; both share `stop` and rate limits."""
        kept = self._patience
        patience = replace(patience, sleep=kept.sleep, clock=kept.clock, jitter=kept.jitter)
        other = copy(self)
        other._patience = patience  # noqa: SLF001 a copy of itself
        other._archives = [(source, self._open(source, patience)) for source, _ in self._archives]  # noqa: SLF001
        return other

    def archives_for(self, label: Timestamp, now: Timestamp) -> list[Archive]:
        """Archives that keep the files of an append label, in order."""
        return [
            archive
            for source, archive in self._archives
            if (source.newest is None or label >= now - source.newest)
            and (source.until is None or label <= source.until)
        ]

    def listed_for(self, label: Timestamp, now: Timestamp) -> Archive | None:
        """The archive whose listing says which files of an append label have arrived: the first that can be listed."""
        return next((archive for archive in self.archives_for(label, now) if archive.can_list), None)
