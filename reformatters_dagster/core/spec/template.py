"""The structure of a store, as a dataset declares it: `TemplateConfig`.

In: frozen config values. Out: the template, metadata-only Zarr v3 that is committed to git; and the same with labels up to now,
as an `xr.Dataset` whose data variables are NaN and take no memory.
"""

import shutil
import uuid
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import Field, PositiveInt, field_validator, model_validator

from reformatters_dagster.core.spec.axes import AppendAxis, Dimension
from reformatters_dagster.core.spec.coordinates import append_attrs, forecast_coordinates, points_on_the_globe
from reformatters_dagster.core.spec.encodings import coordinate_encoding, data_encoding
from reformatters_dagster.core.spec.errors import TemplateDrift, UnknownVariable
from reformatters_dagster.core.spec.grids import LambertGrid, LatLonGrid
from reformatters_dagster.core.spec.template_files import differing_files, read_template, write_metadata
from reformatters_dagster.core.spec.values import Dim, Frozen, Names, Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar, by_name
from reformatters_dagster.core.spec.wording import did_you_mean
from reformatters_dagster.core.spec.zarr_documents import ROOT_KEY, chunks_prefix

TEMPLATES = Path(__file__).parents[3] / "templates"


class DatasetAttributes(Frozen):
    """Global attributes that do not follow from the structure.

    >>> attributes = DatasetAttributes(
    ...     name="Example forecast",
    ...     description="What the dataset is.",
    ...     attribution="Who made the data, and where it was taken from.",
    ...     license="CC BY 4.0",
    ...     spatial_domain="Global",
    ...     spatial_resolution="1 degree (~100km)",
    ...     time_resolution="Forecasts initialized every 6 hours",
    ... )
    >>> attributes.name
    'Example forecast'
    """

    name: str
    description: str
    attribution: str
    license: str
    spatial_domain: str
    spatial_resolution: str
    time_resolution: str
    forecast_domain: str | None = None
    forecast_resolution: str | None = None


class TemplateConfig(Frozen):
    """Dimensions, coordinates, variables and encodings of one dataset. No I/O but `write_template` and `get_template`.

    >>> from dataset_defs.example.weather.forecast import DATA_VARS, TEMPLATE
    >>> template = TemplateConfig(
    ...     dataset_id="example-other-forecast",
    ...     dataset_version="0.1.0",
    ...     attributes=TEMPLATE.attributes,
    ...     append_dim=AppendAxis(name="init_time", start="2026-01-01T00", frequency="12h"),
    ...     dims=(lead_time(hourly_to="6h"),),
    ...     grid=GLOBAL_0P25,
    ...     chunks={"init_time": 1, "lead_time": 7, "latitude": 121, "longitude": 120},
    ...     shards={"init_time": 1, "lead_time": 7, "latitude": 726, "longitude": 720},
    ...     data_vars=DATA_VARS,
    ... )
    >>> template.shard_duration
    Timedelta('0 days 12:00:00')
    """

    dataset_id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)+$")
    dataset_version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    attributes: DatasetAttributes
    append_dim: AppendAxis
    dims: tuple[Dimension, ...] = ()
    """Dimensions between the append dimension and the grid."""
    grid: LatLonGrid | LambertGrid
    chunks: dict[Dim, PositiveInt]
    shards: dict[Dim, PositiveInt]
    data_vars: tuple[DataVar, ...]
    ingested_by_member: bool = False
    """Whether `ingested_forecast_length` has a value for each member, rather than the shortest of all members."""

    @field_validator("data_vars")
    @classmethod
    def _names_are_unique(cls, data_vars: tuple[DataVar, ...]) -> tuple[DataVar, ...]:
        by_name(data_vars)
        return tuple(sorted(data_vars, key=lambda data_var: data_var.name))

    @model_validator(mode="after")
    def _chunks_divide_shards(self) -> Self:
        for what, sizes in (("chunks", self.chunks), ("shards", self.shards)):
            if tuple(sizes) != self.dim_names:
                raise ValueError(
                    f"{what} name dimensions {tuple(sizes)}, the dataset has {self.dim_names}, in that order"
                )
        for dim in self.dim_names:
            if self.shards[dim] % self.chunks[dim]:
                raise ValueError(
                    f"shard of {self.shards[dim]} along {dim!r} is no multiple of chunk {self.chunks[dim]}"
                )
        return self

    @property
    def all_dims(self) -> tuple[Dimension, ...]:
        """Every dimension but the append dimension, in order."""
        return (*self.dims, *self.grid.dims)

    @property
    def dim_names(self) -> tuple[Dim, ...]:
        return (self.append_dim.name, *(dim.name for dim in self.all_dims))

    @property
    def shard_length(self) -> int:
        """Labels of the append dimension in one shard."""
        return self.shards[self.append_dim.name]

    @property
    def shard_duration(self) -> Timedelta:
        return self.append_dim.frequency * self.shard_length

    @property
    def has_lead_time(self) -> bool:
        return "lead_time" in self.dim_names

    @property
    def path(self) -> Path:
        """The committed template."""
        return TEMPLATES / self.dataset_id / "latest.zarr"

    @cached_property
    def variables(self) -> dict[str, DataVar]:
        return by_name(self.data_vars)

    def select(self, names: Names | None) -> tuple[DataVar, ...]:
        """Variables by name, in template order; None means all.

        Raises
        ------
        UnknownVariable
            Naming the ones that are known.
        """
        if names is None:
            return self.data_vars
        if unknown := sorted(set(names) - set(self.variables)):
            raise UnknownVariable(
                f"variables {unknown} were asked for; {self.dataset_id} has {', '.join(sorted(self.variables))}"
                f"{did_you_mean(unknown, self.variables)}"
            )
        return tuple(data_var for data_var in self.data_vars if data_var.name in set(names))

    def started_at(self, start: Timestamp) -> Self:
        """The same structure, whose archive starts with the shard of the template's grid that holds `start`."""
        shards_after = (start - self.append_dim.start) // self.shard_duration
        first = self.append_dim.start + shards_after * self.shard_duration
        return self.model_copy(update={"append_dim": self.append_dim.model_copy(update={"start": first})})

    def dataset_attributes(self) -> dict[str, str]:
        """Global attributes as readers see them."""
        since = f"{self.append_dim.start:%Y-%m-%d %H:%M:%S} UTC to Present"
        time_domain = f"Forecasts initialized {since}" if self.has_lead_time else since
        named = self.attributes.model_dump(exclude_none=True)
        return {
            "dataset_id": self.dataset_id,
            "dataset_version": self.dataset_version,
            "name": named.pop("name"),
            "description": named.pop("description"),
            "attribution": named.pop("attribution"),
            "license": named.pop("license"),
            "spatial_domain": named.pop("spatial_domain"),
            "spatial_resolution": named.pop("spatial_resolution"),
            "time_domain": time_domain,
            **named,
        }

    def expected_forecast_length(self, init_times: pd.DatetimeIndex) -> pd.TimedeltaIndex:
        """Longest lead time the source publishes for each init time. Override where it depends on the init hour."""
        longest = next(dim for dim in self.dims if dim.name == "lead_time").index()[-1]
        return pd.TimedeltaIndex([longest] * len(init_times))

    def derive_coordinates(self, ds: xr.Dataset) -> xr.Dataset:
        """Add the coordinates that follow from the dimensions.

        Parameters
        ----------
        ds : xr.Dataset
            With dimension coordinates only.

        Returns
        -------
        xr.Dataset
            With `spatial_ref`. On a projected grid also with latitude and longitude (y, x). For forecasts also with
            `valid_time` (init_time, lead_time), `expected_forecast_length` (init_time), and `ingested_forecast_length`,
            NaT since runs write it: (init_time), or (init_time, ensemble_member) where the template says so.
        """
        ds = ds.assign_coords(spatial_ref=((), np.int64(0), self.grid.spatial_ref_attrs))
        if isinstance(self.grid, LambertGrid):
            ds = ds.assign_coords(points_on_the_globe(self.grid))
        if not self.has_lead_time:
            return ds
        init_times = ds.indexes["init_time"]
        assert isinstance(init_times, pd.DatetimeIndex)
        return forecast_coordinates(ds, self.expected_forecast_length(init_times), by_member=self.ingested_by_member)

    def coordinates(self, end: Timestamp) -> xr.Dataset:
        """Every coordinate for the append dimension in `[start, end)`, with the attributes readers see."""
        name = self.append_dim.name
        coords: dict[Dim, xr.Variable] = {name: xr.Variable(name, self.append_dim.labels(end), append_attrs(name))}
        coords |= {dim.name: xr.Variable(dim.name, dim.index(), dict(dim.attrs)) for dim in self.all_dims}
        return self.derive_coordinates(xr.Dataset(coords=coords))

    def write_template(self, path: Path) -> None:
        """Write the structure, with one label along the append dimension, as metadata-only Zarr v3.

        Parameters
        ----------
        path : Path
            A folder named `latest.zarr` or `*-tmp.zarr`; replaced when it stands.
        """
        one_label = self.append_dim.start + self.append_dim.frequency
        ds = self.coordinates(one_label).assign_attrs(self.dataset_attributes())
        for name in ds.coords:
            ds[name].encoding = coordinate_encoding(ds[name], self.append_dim)
        shape = tuple(ds.sizes[dim] for dim in self.dim_names)
        for data_var in self.data_vars:
            encoding = data_encoding(data_var, self.chunks, self.shards)
            ds[data_var.name] = xr.Variable(self.dim_names, all_nan(shape), data_var.attrs, encoding)
        write_metadata(ds, path)
        if isinstance(self.grid, LambertGrid):
            # They follow from the grid, and would be megabytes in git. Stores have them.
            for name in ("latitude", "longitude"):
                shutil.rmtree(path / chunks_prefix(name))

    def update_template(self) -> None:
        """Write the committed template, unless it is the same already. Reviewers read the diff."""
        fresh = self.path.with_name(f"{uuid.uuid4().hex[:12]}-tmp.zarr")
        fresh.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.write_template(fresh)
            if differing_files(fresh, self.path):
                shutil.rmtree(self.path, ignore_errors=True)
                fresh.rename(self.path)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def get_template(self, end: Timestamp) -> xr.Dataset:
        """The committed structure with its append dimension covering `[start, end)`.

        Attributes and encodings are those of the committed template; data variables are NaN and hold no memory.

        Raises
        ------
        TemplateDrift
            When the committed template is missing, belongs to another dataset or version, or has other arrays, labels,
            chunks or shards than the code.
        """
        ds = self.coordinates(end)
        committed = _open_committed(self, ds)
        ds = ds.assign_attrs(committed.attrs | {"time_domain": self.dataset_attributes()["time_domain"]})
        for name, coord in committed.coords.items():
            # xarray gives floats an attribute _FillValue unless told not to; the committed coordinates have none.
            ds[name].attrs, ds[name].encoding = coord.attrs, coord.encoding | {"_FillValue": None}
        nan = all_nan(tuple(ds.sizes[dim] for dim in self.dim_names))
        return ds.assign(
            {name: xr.Variable(one.dims, nan, one.attrs, one.encoding) for name, one in committed.data_vars.items()}
        )


def _open_committed(template: TemplateConfig, ds: xr.Dataset) -> xr.Dataset:
    """The committed template, which must describe what the code does; `ds` has the coordinates that the code gives it."""
    advice = f"run 'reformat update-template {template.dataset_id}' and review the diff"
    if not (template.path / ROOT_KEY).exists():
        raise TemplateDrift(
            f"template of {template.dataset_id!r} was asked for; there is none at {template.path}: {advice}"
        )
    committed = read_template(template.path)
    found = committed.attrs.get("dataset_id"), committed.attrs.get("dataset_version")
    if found != (template.dataset_id, template.dataset_version):
        raise TemplateDrift(
            f"template of {template.dataset_id!r} version {template.dataset_version!r} was asked for; {template.path} describes "
            f"{found[0]!r} version {found[1]!r}: {advice}"
        )
    if differing := _differing_arrays(template, ds, committed):
        raise TemplateDrift(f"code and committed template of {template.dataset_id!r} differ in {differing}: {advice}")
    return committed


def _differing_arrays(template: TemplateConfig, ds: xr.Dataset, committed: xr.Dataset) -> list[str]:
    """Arrays that only the code or only the committed template has, and arrays whose labels or layout differ."""
    differing = {*ds.variables, *template.variables} ^ {*committed.variables}
    differing |= {
        dim.name for dim in template.all_dims if not dim.index().equals(committed.indexes.get(dim.name, pd.Index([])))
    }
    layout = template.dim_names, tuple(template.chunks.values()), tuple(template.shards.values())
    differing |= {
        name
        for name, data_var in committed.data_vars.items()
        if (data_var.dims, data_var.encoding["chunks"], data_var.encoding["shards"]) != layout
    }
    return sorted(map(str, differing))


def all_nan(shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """A read-only float32 array of NaN; it takes the memory of one number, whatever its shape."""
    return np.broadcast_to(np.float32("nan"), shape)
