"""How a dataset is cut into region jobs: along the append dimension into whole shards, and by variables.

In: a template and filters. Out: regions and batches of variables, the same in every process.
"""

from collections.abc import Collection, Sequence

import pandas as pd
import xarray as xr

from reformatters_dagster.core.spec.region import filter_regions, shard_regions
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.variables import DataVar


def regions_of(
    template: TemplateConfig,
    template_ds: xr.Dataset,
    *,
    start: Timestamp | None = None,
    end: Timestamp | None = None,
    contains: Collection[Timestamp] | None = None,
) -> list[slice]:
    """Regions of a template, ascending; the filters are those of `region.filter_regions`."""
    labels = pd.DatetimeIndex(template_ds.get_index(template.append_dim.name))
    regions = shard_regions(len(labels), template.shard_length)
    return filter_regions(regions, labels, start=start, end=end, contains=contains)


def regions_to_update(template: TemplateConfig, template_ds: xr.Dataset, published: pd.DatetimeIndex) -> list[slice]:
    """The last region that the store holds, and every one since; all of them when it holds no label."""
    if not len(published):
        return regions_of(template, template_ds)
    newest = pd.DatetimeIndex(template_ds.get_index(template.append_dim.name))[-1]
    # Metadata may have been made for labels that are yet to come.
    return regions_of(template, template_ds, start=min(published[-1], newest))


def batches_of(groups: Sequence[tuple[DataVar, ...]], size: int) -> list[tuple[DataVar, ...]]:
    """Source groups cut into batches of at most so many variables."""
    return [group[i : i + size] for group in groups for i in range(0, len(group), size)]


def groups_by_files(data_vars: Sequence[DataVar]) -> list[tuple[DataVar, ...]]:
    """Groups whose variables have their first step, and their first label, in common."""
    groups: dict[tuple[bool, Timestamp | None], list[DataVar]] = {}
    for data_var in data_vars:
        groups.setdefault((data_var.has_hour_0, data_var.available_from), []).append(data_var)
    return [tuple(group) for group in groups.values()]
