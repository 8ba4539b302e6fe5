"""`DynamicalDataset`: what the module of a dataset makes, and where runs of a dataset begin.

In: the fields of a `Declaration`. Out: workspaces, an operational update, checks, metadata of a store. The steps of a
partition's run are functions: `plan_partition`, `process_group`, `commit_partition`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.check.validators import CheckResult, Validator, run_validators
from reformatters_dagster.core.job.context import OnProgress, ignore_progress
from reformatters_dagster.core.ledger.entries import LedgerView, previous_entry, why_unreadable
from reformatters_dagster.core.run.crosscheck import compare_with_upstream
from reformatters_dagster.core.run.declaration import Declaration
from reformatters_dagster.core.run.outcomes import RunReport
from reformatters_dagster.core.run.targets import places_for_metadata
from reformatters_dagster.core.run.update import update_store
from reformatters_dagster.core.spec.retries import Patience
from reformatters_dagster.core.spec.values import MOMENT, Timestamp
from reformatters_dagster.core.store.initialise import initialise_store
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.reading import first_label, read_root
from reformatters_dagster.core.store.settings import Settings, Workspace


@dataclass(frozen=True, kw_only=True)
class DynamicalDataset(Declaration):
    """One dataset: what it declares, and what can be done with it.

    >>> from dataset_defs.example.weather.forecast import ARCHIVES, TEMPLATE, WeatherForecastRegionJob
    >>> dataset = DynamicalDataset(
    ...     template_config=TEMPLATE,
    ...     region_job=WeatherForecastRegionJob,
    ...     archives=ARCHIVES,
    ...     validators=(CheckCurrentData(max_delay="8h"), CheckRecentNans(), *STANDARD_CHECKS),
    ... )
    >>> dataset.dataset_id
    'example-weather-forecast'
    """

    def started_by(self, settings: Settings) -> Self:
        """The dataset with its archive starting where a deployment wants it to."""
        chosen = settings.start_for(self.dataset_id) is not None
        template = settings.start_of(self.template_config)
        return replace(self, template_config=template, start_is_chosen=self.start_is_chosen or chosen)

    def as_begun(self, primary: Store) -> Self:
        """The dataset with its archive starting where its store does, unless a deployment says where.

        A store thus remembers its start. One that starts before the template is left to `refuse_other_start`.

        Raises
        ------
        StoreUnavailable, CorruptRoot
            When the start cannot be read.
        """
        template = self.template_config
        root = None if self.start_is_chosen else read_root(primary)
        first = None if root is None else first_label(primary, root, template.append_dim.name)
        if first is None or first <= template.append_dim.start:
            return self
        return replace(self, template_config=template.started_at(first))

    def workspace(
        self,
        settings: Settings,
        patience: Patience | None = None,
        *,
        wall_clock: Callable[[], float] | None = None,
    ) -> Workspace:
        """Open the stores and archives of this dataset: see `Settings.workspace`."""
        return settings.workspace(self.template_config, self.archives, patience, wall_clock=wall_clock)

    def initialise(self, workspace: Workspace, end: Timestamp | None, now: Timestamp) -> int:
        """Create or extend the store's metadata to labels before `end` (default: up to now); return how many it covers.

        Raises
        ------
        Refused
            As `initialise_store`.
        """
        return initialise_store(self.template_config, places_for_metadata(self, workspace), end or now + MOMENT, now)

    def reformat_operational_update(
        self,
        workspace: Workspace,
        *,
        run_id: str,
        now: Timestamp,
        root_run: str = "",
        on_progress: OnProgress = ignore_progress,
    ) -> RunReport:
        """One operational update: the last published shard again, then every one since, each committed before the next.

        It stops at the first partition beyond the published extent that has no usable file yet, or that could not be
        published to its end. Past the give-up age the missing end of a partition is published as known missing. So is a
        whole partition that never came, once a later one has begun to arrive.

        Parameters
        ----------
        root_run : str, optional
            The name under which progress is kept. With that of an earlier run this one continues where the earlier one
            ended: it does not repeat what was uploaded and committed.

        Raises
        ------
        NothingSucceeded
            When a partition that was written before could not be read again, and nothing of later ones either: the
            upstream is out, and nothing was touched.
        Refused
            As `plan_partition`.
        """
        return update_store(self, workspace, run_id=run_id, now=now, root_run=root_run, on_progress=on_progress)

    def validate(
        self,
        store: Store,
        now: Timestamp,
        validators: Sequence[Validator] | None = None,
        *,
        internal: Store | None = None,
        workspace: Workspace | None = None,
    ) -> list[CheckResult]:
        """Ask validators (default: all) of one store as its readers see it.

        Parameters
        ----------
        internal : Store, optional
            Where the ledger of this store is; without it validators that need a ledger are left out.
        workspace : Workspace, optional
            Where the upstream is; without it validators that compare with the upstream are left out.
        """
        ledger = None
        if internal is not None:
            ledger = LedgerView(
                partial(previous_entry, internal),
                self.soft_deadline,
                self.give_up_age,
                partial(why_unreadable, internal),
            )
        compare = None if workspace is None else partial(compare_with_upstream, self, workspace)
        opened = OpenedStore.of(store, self.template_config, ledger, compare)
        return run_validators(self.validators if validators is None else validators, opened, now)
