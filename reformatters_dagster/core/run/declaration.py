"""What a dataset declares: the fields that its module sets, and the names that follow from them.

In: template, region job, archives, validators and the choices of one dataset. Out: a frozen value that every step of a
run takes as its first argument.
"""

from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from reformatters_dagster.core.check.validators import Validator
from reformatters_dagster.core.job.context import FOUR_DAYS, JobContext, OnProgress, ignore_progress
from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.ledger.lease import DEFAULT_TERMS, LeaseTerms
from reformatters_dagster.core.spec.sources import SourceArchive
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import Frozen, Timedelta, Timestamp
from reformatters_dagster.core.store.settings import Workspace

SIX_HOURS, TEN_MINUTES, THIRTY_MINUTES = Timedelta("6h"), Timedelta("10min"), Timedelta("30min")


class Resources(Frozen):
    """What one run needs on Kubernetes.

    >>> Resources(memory="8Gi").cpu
    '2'
    """

    cpu: str = "2"
    memory: str = "4Gi"
    ephemeral_storage: str = "20Gi"


DEFAULT_RESOURCES = Resources()


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """One dataset: what it is, how it is made, where it comes from, how it is checked."""

    template_config: TemplateConfig
    region_job: type[RegionJob[Any]]
    archives: tuple[SourceArchive, ...]
    documentation: str | None = None
    """URL at which the provider says what the source data are."""
    validators: tuple[Validator, ...] = ()
    publish_policy: Literal["any", "all"] = "any"
    """Publish up to the newest label of `any` variable, or only up to the newest label that `all` variables have.
    Variables whose published shard cannot be continued do not count: the ledger tells what they lack."""
    replicas: Literal["required", "best_effort"] = "required"
    """What a replica that is down does: it stops the update before the primary moves, or it is marked and mended later."""
    soft_deadline: Timedelta = SIX_HOURS
    """Age of an append label at which an update starts with whatever has arrived."""
    quiet: Timedelta = TEN_MINUTES
    """A shard of many labels is continued once no file of it has arrived for this long: files come in bunches."""
    heal_cool_down: Timedelta = THIRTY_MINUTES
    """Least time between two runs that fill holes of one partition."""
    give_up_age: Timedelta = FOUR_DAYS
    """Age of an append label at which missing files are known to be missing, and nobody waits for them any more."""
    buffer_bytes: int = 2 * 2**30
    """Most memory for the values of one variable; larger ones are kept on the tmp disk and worked on in pieces."""
    start_is_chosen: bool = False
    """Whether somebody has said where this store's archive starts: `started_by` sets it. If not, the store that stands says it,
    and a new store starts with the template."""
    lease_terms: LeaseTerms = DEFAULT_TERMS
    validate_cron: str = "30 */6 * * *"
    """When the validators run by themselves, UTC: after an update is due."""
    resources: Resources = DEFAULT_RESOURCES
    """Of each pod."""
    pods: Literal["run", "group"] = "run"
    """On Kubernetes, whether a run of one of the dataset's jobs is one pod, or each group of variables has its own."""
    partitions_per_run: int = 1
    """Most partitions that a run of a backfill in Dagster makes, one after another: where a pod takes longer to start than a
    partition to be made. Only where `pods` is `run`."""

    def __post_init__(self) -> None:
        if self.partitions_per_run < 1 or (self.partitions_per_run > 1 and self.pods == "group"):
            raise ValueError(
                f"{self.dataset_id} declares partitions_per_run={self.partitions_per_run} and pods={self.pods!r}; a run takes "
                "one partition or more, and only one where groups have pods of their own: correct one of the two"
            )

    @property
    def dataset_id(self) -> str:
        return self.template_config.dataset_id

    @property
    def provider(self) -> str:
        return self.dataset_id.split("-")[0]

    @property
    def name(self) -> str:
        """The id within its provider, as an identifier."""
        return self.dataset_id.split("-", 1)[1].replace("-", "_")

    def job_name(self, kind: str) -> str:
        """Name of one of the dataset's Dagster jobs."""
        return f"{self.provider}_{self.name}__{kind}"

    def context(
        self,
        workspace: Workspace,
        now: Timestamp,
        *,
        run_id: str | None = None,
        force: bool = False,
        on_progress: OnProgress = ignore_progress,
    ) -> JobContext:
        """What the region jobs of one run share: the dataset's choices, the places, the options."""
        return JobContext(
            template_config=self.template_config,
            stores=workspace.stores,
            upstream=workspace.upstream,
            tmp=workspace.tmp,
            now=now,
            run_id=run_id or uuid4().hex,
            publish_policy=self.publish_policy,
            buffer_bytes=self.buffer_bytes,
            give_up_age=self.give_up_age,
            force=force,
            on_progress=on_progress,
        )
