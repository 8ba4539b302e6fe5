"""How far the results of a region allow its labels to be published.

In: what became of every file. Out: the template, cut.
"""

from typing import Literal

import xarray as xr

from reformatters_dagster.core.source.files import Results
from reformatters_dagster.core.spec.values import AppendDim


def cut_to_results(
    template_ds: xr.Dataset, append_dim: AppendDim, region: slice, results: Results, policy: Literal["any", "all"]
) -> xr.Dataset:
    """See `RegionHooks.update_template_with_results`."""
    newest = [
        max((result.coord.out_loc()[append_dim] for result in files if result.succeeded), default=None)
        for files in results.values()
        if files
    ]
    reached = [label for label in newest if label is not None]
    if not reached or (policy == "all" and len(reached) < len(newest)):
        return template_ds.isel({append_dim: slice(0, region.start)})
    last = min(reached) if policy == "all" else max(reached)
    return template_ds.sel({append_dim: slice(None, last)})
