"""What a deployment decides: where stores, upstream and tmp folders are, and where its archives start.

In: environment variables, read elsewhere. Out: the settings, and the places of one dataset, opened.
"""

import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self

import pandas as pd
from pydantic import Field

from reformatters_dagster.core.source.rate_limit import Reserve
from reformatters_dagster.core.source.upstream import Upstream
from reformatters_dagster.core.spec.errors import Refused
from reformatters_dagster.core.spec.retries import STORE_PATIENCE, Patience
from reformatters_dagster.core.spec.sources import SourceArchive
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import Frozen, Time, Timestamp
from reformatters_dagster.core.store.host_turns import HostTurns
from reformatters_dagster.core.store.stores import StoreSet, final_path, open_store, open_store_set, store_url

DEFAULT_STORE = "data/stores"
TURNS_PATIENCE = replace(STORE_PATIENCE, attempts=2, timeout=5.0)
"""A limit that cannot be shared is no reason to wait for a store."""


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The places that one dataset is read from and written to."""

    stores: StoreSet
    upstream: Upstream
    tmp: Path


class Settings(Frozen):
    """The `REFORMATTERS_*` variables, parsed."""

    store: str = DEFAULT_STORE
    replicas: tuple[str, ...] = ()
    upstream: str | None = None
    tmp: str | None = None
    start: Time | None = None
    """Where archives start that are not in `starts`."""
    starts: dict[str, Time] = Field(default_factory=dict)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the `REFORMATTERS_*` variables from a mapping; an empty one counts as unset.

        Raises
        ------
        Refused
            When `REFORMATTERS_START` cannot be read.
        """

        def value(name: str) -> str | None:
            return environment.get(f"REFORMATTERS_{name}", "").strip() or None

        start, starts = _parse_starts(value("START"))
        return cls(
            store=value("STORE") or DEFAULT_STORE,
            replicas=tuple(filter(None, (url.strip() for url in (value("REPLICAS") or "").split(",")))),
            upstream=value("UPSTREAM"),
            tmp=value("TMP"),
            start=start,
            starts=starts,
        )

    def start_of(self, template: TemplateConfig) -> TemplateConfig:
        """The template with its archive starting where this deployment wants it."""
        start = self.start_for(template.dataset_id)
        return template if start is None else template.started_at(start)

    def start_for(self, dataset_id: str) -> Timestamp | None:
        """Where this deployment wants an archive to start; None where it does not say."""
        return self.starts.get(dataset_id, self.start)

    def starting(self, dataset_id: str, start: Timestamp) -> Self:
        """The same settings, in which the archive of one dataset starts at a time."""
        return self.model_copy(update={"starts": self.starts | {dataset_id: start}})

    def refuse_unknown_starts(self, dataset_ids: Collection[str], elsewhere: Collection[str] = ()) -> None:
        """Refuse starts of datasets that do not exist: with a misspelt name an archive would start where its template does.

        Parameters
        ----------
        elsewhere : names, optional
            Providers whose datasets other processes know; their starts are not looked at.
        """
        own = {name for name in self.starts if name.split("-")[0] not in elsewhere}
        if unknown := sorted(own - set(dataset_ids)):
            there = [*sorted(dataset_ids), *(f"those of {provider}" for provider in sorted(elsewhere))]
            raise Refused(
                f"REFORMATTERS_START names {', '.join(unknown)}; there are {', '.join(there)}: correct the name"
            )

    def workspace(
        self,
        template: TemplateConfig,
        archives: tuple[SourceArchive, ...],
        patience: Patience | None = None,
        *,
        wall_clock: Callable[[], float] | None = None,
    ) -> Workspace:
        """Open everything one dataset needs.

        Parameters
        ----------
        patience : Patience, optional
            How long archives are asked, and stores hardly longer. Default: as a run asks, which has hours.
        wall_clock : callable, optional
            Seconds since 1970. With it, all processes of the deployment share the rate limit of each host; without it each
            keeps a limit of its own.

        Raises
        ------
        UpstreamMissing
            When the upstream is a folder that does not exist.
        """
        return Workspace(
            stores=self.stores(template, patience),
            upstream=Upstream(
                archives,
                mirror=self.upstream,
                patience=patience,
                share=None if wall_clock is None else partial(self._turns_of, wall_clock),
            ),
            tmp=self.tmp_folder(),
        )

    def stores(self, template: TemplateConfig, patience: Patience | None = None) -> StoreSet:
        """Primary and replicas of one dataset."""
        ours = STORE_PATIENCE
        if patience is not None:
            # The last answer of the archives may still have to be compared with the stores.
            asked_for = patience.asked_for + patience.timeout
            ours = replace(ours, attempts=patience.attempts, timeout=patience.timeout, asked_for=asked_for)
        return open_store_set(self.store, self.replicas, template.dataset_id, template.dataset_version, patience=ours)

    def store_url(self, template: TemplateConfig) -> str:
        """Where the primary store of one dataset is; nothing is opened."""
        return store_url(self.store, final_path(template.dataset_id, template.dataset_version))

    def _turns_of(self, wall_clock: Callable[[], float], host: str) -> Reserve:
        """The turns of a host, for all datasets and processes of the deployment."""
        return HostTurns(open_store(self.store, "_internal/hosts", patience=TURNS_PATIENCE), host, wall_clock).reserve

    def tmp_folder(self) -> Path:
        """Folder for tmp stores and downloads."""
        return Path(self.tmp) if self.tmp else Path(tempfile.gettempdir()) / "reformatters"


def _parse_starts(text: str | None) -> tuple[Timestamp | None, dict[str, Timestamp]]:
    everywhere: Timestamp | None = None
    starts: dict[str, Timestamp] = {}
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        dataset_id, _, time = part.rpartition("=")
        try:
            label = parse_time(time)
        except Refused as error:
            raise Refused(f"REFORMATTERS_START={text!r}: {error}; write one time, or dataset-id=time,…") from error
        if dataset_id:
            starts[dataset_id.strip()] = label
        else:
            everywhere = label
    return everywhere, starts


def parse_time(text: str) -> Timestamp:
    """A naive UTC time from text such as `2026-07-29T18` or `2026-07-29T18:00`.

    Raises
    ------
    Refused
        When it cannot be read, or carries a zone other than UTC.
    """
    try:
        # pandas would take "now", "18:00" and other words that mean another time tomorrow.
        time = pd.Timestamp(datetime.fromisoformat(text.strip()))
    except ValueError as error:
        raise Refused(f"time {text!r} cannot be read; write UTC as 2026-07-29T18 or 2026-07-29T18:00") from error
    if time.tzinfo is not None:
        if time.utcoffset() != pd.Timedelta(0):
            raise Refused(f"time {text!r} is not UTC; write UTC as 2026-07-29T18 or 2026-07-29T18:00")
        time = time.tz_localize(None)
    return time.as_unit("us")
