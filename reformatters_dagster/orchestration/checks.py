"""A dataset's validators as asset checks.

In: a dataset. Out: one multi-asset check, whose results are those of its validators.
"""

import logging
from collections.abc import Collection, Iterator

import dagster as dg

from reformatters_dagster.core.check.places import Place
from reformatters_dagster.core.check.validators import CheckResult
from reformatters_dagster.core.run.comparison import CHECK_NAME, check_replicas
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.errors import ReformatError
from reformatters_dagster.core.store.reading import load_published, open_published
from reformatters_dagster.orchestration.names import BACKFILL_TAG, K8S_TAG, asset_key
from reformatters_dagster.orchestration.pods import NO_PODS, Pods
from reformatters_dagster.orchestration.resources import Reformatters, utc_now
from reformatters_dagster.orchestration.standing import never_evaluated
from reformatters_dagster.pictures import NOT_DRAWN, as_markdown_image, can_draw, draw_panel, panel_of

log = logging.getLogger(__name__)

MAP_WIDTH = 500
"""Pixels."""


def check_keys(dataset: DynamicalDataset, *, has_replicas: bool = False) -> list[dg.AssetCheckKey]:
    """The checks that `build_checks` makes."""
    names = [validator.name for validator in dataset.validators] + [CHECK_NAME] * has_replicas
    return [dg.AssetCheckKey(asset_key(dataset), name) for name in names]


def build_checks(
    dataset: DynamicalDataset, *, has_replicas: bool = False, pods: Pods = NO_PODS
) -> dg.AssetChecksDefinition:
    """One check per validator, and one that compares replicas, all in one step.

    Runs of a backfill let the last results stand: validators look at the newest data, which a backfill of history does not
    change. They ask only validators that were never asked.
    """
    key = asset_key(dataset)
    specs = [
        dg.AssetCheckSpec(validator.name, asset=key, description=(type(validator).__doc__ or "").partition("\n")[0])
        for validator in dataset.validators
    ]
    if has_replicas:
        specs.append(
            dg.AssetCheckSpec(CHECK_NAME, asset=key, description=(check_replicas.__doc__ or "").partition("\n")[0])
        )

    @dg.multi_asset_check(
        name=dataset.job_name("validators"), specs=specs, can_subset=True, op_tags={K8S_TAG: pods.of(dataset)}
    )
    def validators(context: dg.AssetCheckExecutionContext, reformatters: Reformatters) -> Iterator[dg.AssetCheckResult]:
        asked = set(context.selected_asset_check_keys)
        if BACKFILL_TAG in context.run.tags:
            asked = never_evaluated(context.instance, asked)
            context.log.info("a backfill does not change what validators look at: %s were never asked", len(asked))
        for result in _results(dataset, reformatters, {check.name for check in asked}):
            picture = _map_of(dataset, reformatters, result.places[0]) if result.places else None
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name=result.name,
                passed=result.passed,
                severity=dg.AssetCheckSeverity[result.severity],
                description=result.message,
                metadata={**result.metadata, **({} if picture is None else {"map": dg.MetadataValue.md(picture)})},
            )

    return validators


def _map_of(dataset: DynamicalDataset, reformatters: Reformatters, place: Place) -> str | None:
    """A small map of the field with most suspicious values, or why there is none.

    None where drawing fails, which must not hide the result.
    """
    if not can_draw():
        return NOT_DRAWN
    try:
        _, workspace = reformatters.open(dataset)
        field = load_published(open_published(workspace.stores.primary)[place.variable].isel(place.field))
        panel = panel_of(field)
        return as_markdown_image(draw_panel(panel, width_px=MAP_WIDTH), panel.title)
    except Exception:
        log.warning("check: the field at %s could not be drawn", place, exc_info=True)
        return None


def _results(dataset: DynamicalDataset, reformatters: Reformatters, wanted: Collection[str]) -> list[CheckResult]:
    """What the wanted checks find. Each of them fails where the store cannot be opened, and says why."""
    chosen = [validator for validator in dataset.validators if validator.name in wanted]
    try:
        begun, workspace = reformatters.open(dataset)
        stores, now = workspace.stores, utc_now()
        results = []
        if chosen:
            results = begun.validate(stores.primary, now, chosen, internal=stores.internal, workspace=workspace)
        return [*results, check_replicas(stores, now)] if CHECK_NAME in wanted else results
    except ReformatError as error:
        message = f"the store was to be opened and could not be: {type(error).__name__}: {error}"
        return [CheckResult(name=name, passed=False, message=message) for name in sorted(wanted)]
