"""What a dataset is, for people who have not read its code.

In: a dataset and where its store is. Out: a page in Markdown.
"""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from reformatters_dagster.core.run.declaration import Declaration
from reformatters_dagster.core.spec.axes import Dimension
from reformatters_dagster.core.spec.grids import LambertGrid
from reformatters_dagster.core.spec.sources import SourceArchive
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.variables import DataVar, GribField
from reformatters_dagster.core.spec.wording import spell_bytes, spell_duration

if TYPE_CHECKING:
    from reformatters_dagster.core.spec.values import Dim

VALUE_BYTES = 4
SHOWN_FIRST = "temperature_2m"
"""The variable of the example, where a dataset has it."""


def describe(dataset: Declaration, store_url: str) -> str:
    """A page about a dataset: what it is, how to open it, its dimensions and sizes, where it comes from, whose it is.

    Dagster folds long pages. What stands first is seen at once.

    Parameters
    ----------
    store_url : str
        Where its primary store is, as `Store.url` has it.

    Returns
    -------
    str
        Markdown with tables. The first line is the dataset's own description.
    """
    template = dataset.template_config
    attributes = template.dataset_attributes()
    told = [
        attributes["description"],
        "",
        "Open it in Python:",
        "",
        "```python",
        *opening_lines(template, store_url),
        "```",
        "",
        _table(("", ""), [(f"**{name}**", fact) for name, fact in facts(dataset)], ":--|:--"),
    ]
    told += ["", _table(("dimension", "labels", "chunk", "shard"), dimensions(template), ":--|:--|--:|--:")]
    return "\n".join(told)


def describe_variable(data_var: DataVar) -> str:
    """What one variable is, in a line: its long name, its time window, its comment, how far its values are rounded."""
    window = {
        "avg": "mean of a window",
        "accum": "total of a window",
        "max": "highest of a window",
        "min": "lowest of a window",
    }
    named = ", ".join(filter(None, [data_var.long_name, window.get(data_var.step_type)]))
    bits = data_var.keep_mantissa_bits
    rounded = "" if bits is None else f"Rounded by at most {100 * 2.0 ** -(bits + 1):.2g} % of the value"
    return ". ".join(filter(None, [named, (data_var.comment or "").removesuffix("."), rounded])) + "."


def describe_variables(template: TemplateConfig) -> str:
    """Every variable in a table: name, units, what it is, the words of its message in an index, parameter and process."""
    rows = [(f"`{one.name}`", one.units, describe_variable(one), _field(one.field)) for one in template.data_vars]
    return _table(("variable", "units", "what it is", "source field"), rows, ":--|:--|:--|:--")


def _field(field: GribField) -> str:
    numbers = ".".join(map(str, field.parameter))
    process = "" if field.statistic == "instant" else f", {field.statistic}"
    return f"`{field.element}:{field.level}`, GRIB2 {numbers}{process}"


def opening_lines(template: TemplateConfig, store_url: str) -> list[str]:
    """Four lines of Python that open a store and show the newest labels of one of its variables.

    A folder needs xarray and zarr alone. A bucket needs obstore too, which finds credentials, endpoint and region in the
    environment as this project does, and like it takes an endpoint whose URL says http, as one inside a cluster may.
    """
    variable = SHOWN_FIRST if SHOWN_FIRST in template.variables else template.data_vars[0].name
    newest = f"ds[{variable!r}].isel({template.append_dim.name}=-1)"
    if "://" not in store_url:
        return ["import xarray as xr", f"ds = xr.open_zarr({store_url!r})", f"newest = {newest}", "print(newest)"]
    return [
        "import obstore, xarray as xr, zarr",
        f"bucket = obstore.store.from_url({store_url!r}, client_options={{'allow_http': True}})",
        "ds = xr.open_zarr(zarr.storage.ObjectStore(bucket, read_only=True))",
        f"print({newest})",
    ]


def facts(dataset: Declaration) -> list[tuple[str, str]]:
    """What there is to know of a dataset, by what it is called; `code` and <links> as Markdown has them."""
    template = dataset.template_config
    attributes, needs = template.dataset_attributes(), dataset.resources
    rows = {
        "times": attributes["time_domain"],
        "resolution": attributes["time_resolution"],
        "lead times": ". ".join(
            attributes[key] for key in ("forecast_domain", "forecast_resolution") if key in attributes
        ),
        "domain": f"{attributes['spatial_domain']}, {attributes['spatial_resolution']}",
        "grid": _grid(template),
        "variables": f"{len(template.data_vars)}, float32; listed below",
        "a partition is": f"{_partition(template)}, {spell_bytes(_partition_bytes(template))} uncompressed",
        "updates": f"when source files arrive, at the latest {spell_duration(dataset.soft_deadline)} after a label; files "
        f"that are missing are waited for until {spell_duration(dataset.give_up_age)} after it",
        "a run asks for": f"{needs.cpu} CPU, {needs.memory} of memory, {needs.ephemeral_storage} of scratch on Kubernetes",
        "source": "; ".join(map(_archive, dataset.archives)),
        "documentation": f"<{dataset.documentation}>" if dataset.documentation else "",
        "attribution": attributes["attribution"],
        "licence": attributes["license"],
        "id, version": f"`{dataset.dataset_id}`, {template.dataset_version}",
    }
    return [(name, told) for name, told in rows.items() if told]


def _grid(template: TemplateConfig) -> str:
    grid, size = template.grid, " x ".join(f"{count:,}" for count in template.grid.shape)
    if not isinstance(grid, LambertGrid):
        return f"{size} points, regular in latitude and longitude"
    parallels = " and ".join(f"{one:g}" for one in dict.fromkeys(grid.standard_parallels))
    return (
        f"{size} points, Lambert conformal conic (standard parallel {parallels}, central meridian "
        f"{grid.central_meridian:g}); latitude and longitude are coordinates of each point"
    )


def _archive(archive: SourceArchive) -> str:
    limits = []
    if archive.newest is not None:
        limits.append(f"the newest {spell_duration(archive.newest)}")
    if archive.until is not None:
        limits.append(f"until {archive.until:%Y-%m-%d}")
    return f"`{archive.url}`{f' ({", ".join(limits)})' if limits else ''}"


def _partition(template: TemplateConfig) -> str:
    name, length = template.append_dim.name, template.shard_length
    return f"one {name}" if length == 1 else f"{length:,} labels of {name}, {spell_duration(template.shard_duration)}"


def _partition_bytes(template: TemplateConfig) -> int:
    labels = template.shard_length * prod(len(dim.labels) for dim in template.all_dims)
    return labels * len(template.data_vars) * VALUE_BYTES


def dimensions(template: TemplateConfig) -> list[tuple[str, ...]]:
    """Each dimension with its labels, and how many of them a chunk and a shard hold; then how large these are."""
    axis = template.append_dim
    labels: dict[Dim, str] = {axis.name: f"every {spell_duration(axis.frequency)} from {axis.start:%Y-%m-%dT%H:%M} on"}
    labels |= {dim.name: f"{len(dim.labels):,}: {_span(dim)}" for dim in template.all_dims}
    sizes = template.chunks, template.shards
    rows = [(f"`{name}`", labels[name], *(f"{size[name]:,}" for size in sizes)) for name in template.dim_names]
    return [*rows, ("**bytes, uncompressed**", "", *(spell_bytes(prod(size.values()) * VALUE_BYTES) for size in sizes))]


def _span(dim: Dimension) -> str:
    """First and last label of a dimension, with their unit."""
    first, last = dim.labels[0], dim.labels[-1]
    if dim.kind == "duration":
        return f"{first / 3600:g} h to {last / 3600:g} h"
    unit = dict(dim.attrs).get("units", "").replace("_", " ").removeprefix("1")
    return f"{round(first, 5):.10g} to {round(last, 5):.10g} {unit}".rstrip()


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], aligned: str) -> str:
    lines = [" | ".join(head), aligned, *(" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {line} |" if line != aligned else f"|{line}|" for line in lines)
