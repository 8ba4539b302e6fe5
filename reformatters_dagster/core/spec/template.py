"""The structure of a store: `TemplateConfig` writes it into git as metadata-only Zarr v3, and every run loads it from there.

In: frozen config values. Out: an `xr.Dataset` whose data variables are NaN and take no memory, and metadata on disk.
"""

import shutil
import uuid
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import Field, PositiveInt, field_validator, model_validator

from reformatters_dagster.core.spec.axes import AppendAxis, Dimension
from reformatters_dagster.core.spec.errors import TemplateDrift, UnknownVariable
from reformatters_dagster.core.spec.grids import LambertGrid, LatLonGrid
from reformatters_dagster.core.spec.projection import latitudes_longitudes
from reformatters_dagster.core.spec.region import shard_regions
from reformatters_dagster.core.spec.values import Dim, Frozen, Names, Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar, by_name
from reformatters_dagster.core.spec.wording import did_you_mean
from reformatters_dagster.core.spec.zarr_documents import ROOT_KEY, chunks_prefix, consolidate

if TYPE_CHECKING:
    from zarr.codecs import BloscCodec

TEMPLATES = Path(__file__).parents[3] / "templates"
BLOSC_BLOCK = 2**17
"""Bytes that c-blosc compresses at once."""

EPOCH_UNITS = "seconds since 1970-01-01"
_DURATION = {"dtype": "float64", "units": "seconds", "fill_value": np.nan}
_TIME = {"dtype": "int64", "units": EPOCH_UNITS, "calendar": "proleptic_gregorian", "fill_value": 0}


class DatasetAttributes(Frozen):
    """Global attributes, but for those that follow from the structure."""

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
    """Dimensions, coordinates, variables and encodings of one dataset. No I/O but `write_template` and `get_template`."""

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
    """Whether `ingested_forecast_length` is told of each member, rather than of the one that is least far."""

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
        """The same structure with its archive starting at the whole shard of the template's grid that holds `start`."""
        shards_after = (start - self.append_dim.start) // self.shard_duration
        first = self.append_dim.start + shards_after * self.shard_duration
        return self.model_copy(update={"append_dim": self.append_dim.model_copy(update={"start": first})})

    def shard_labels(self, end: Timestamp) -> list[Timestamp]:
        """First label of every shard that holds a label before `end`."""
        labels = self.append_dim.labels(end)
        return [labels[region.start] for region in shard_regions(len(labels), self.shard_length)]

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
            With `spatial_ref`; on a projected grid also latitude and longitude (y, x); for forecasts also `valid_time`
            (init_time, lead_time) and the expected and ingested forecast length (init_time), the latter NaT, and of each member
            where the template says so: it is written at run time.
        """
        ds = ds.assign_coords(spatial_ref=((), np.int64(0), self.grid.spatial_ref_attrs))
        if isinstance(self.grid, LambertGrid):
            ds = ds.assign_coords(_points_on_the_globe(self.grid))
        if not self.has_lead_time:
            return ds
        init_times = ds.indexes["init_time"]
        assert isinstance(init_times, pd.DatetimeIndex)
        expected = self.expected_forecast_length(init_times).to_numpy().astype("timedelta64[us]")
        ingested_dims = ("init_time", "ensemble_member") if self.ingested_by_member else ("init_time",)
        ingested = np.full([ds.sizes[dim] for dim in ingested_dims], np.timedelta64("NaT", "us"))
        valid = init_times.to_numpy()[:, None] + ds.indexes["lead_time"].to_numpy()
        return ds.assign_coords(
            valid_time=(("init_time", "lead_time"), valid, {"long_name": "Valid time", "standard_name": "time"}),
            expected_forecast_length=("init_time", expected, {"long_name": "Expected forecast length"}),
            ingested_forecast_length=(ingested_dims, ingested, {"long_name": "Ingested forecast length"}),
        )

    def coordinates(self, end: Timestamp) -> xr.Dataset:
        """Every coordinate for the append dimension in `[start, end)`, with the attributes readers see."""
        name = self.append_dim.name
        coords: dict[Dim, xr.Variable] = {name: xr.Variable(name, self.append_dim.labels(end), _append_attrs(name))}
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
            ds[name].encoding = self._coordinate_encoding(ds, str(name))
        shape = tuple(ds.sizes[dim] for dim in self.dim_names)
        for data_var in self.data_vars:
            encoding = self._data_encoding(data_var)
            ds[data_var.name] = xr.Variable(self.dim_names, all_nan(shape), data_var.attrs, encoding)
        write_metadata(ds, path)
        if isinstance(self.grid, LambertGrid):
            # They follow from the grid, and would be megabytes in git; stores have them.
            for name in ("latitude", "longitude"):
                shutil.rmtree(path / chunks_prefix(name))

    def update_template(self) -> None:
        """Write the committed template, unless it stands there already. The diff is the review."""
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
            When the committed template is missing, is of another dataset or version, or has other arrays, labels, chunks
            or shards than the code.
        """
        committed = self._open_committed()
        ds = self.coordinates(end).assign_attrs(
            committed.attrs | {"time_domain": self.dataset_attributes()["time_domain"]}
        )
        for name, coord in committed.coords.items():
            # xarray gives floats an attribute _FillValue unless told not to; the committed coordinates have none.
            ds[name].attrs, ds[name].encoding = coord.attrs, coord.encoding | {"_FillValue": None}
        nan = all_nan(tuple(ds.sizes[dim] for dim in self.dim_names))
        return ds.assign(
            {name: xr.Variable(one.dims, nan, one.attrs, one.encoding) for name, one in committed.data_vars.items()}
        )

    def _open_committed(self) -> xr.Dataset:
        advice = f"run 'reformat update-template {self.dataset_id}' and review the diff"
        if not (self.path / ROOT_KEY).exists():
            raise TemplateDrift(
                f"template of {self.dataset_id!r} was asked for; there is none at {self.path}: {advice}"
            )
        committed = _read_committed(self.path)
        found = committed.attrs.get("dataset_id"), committed.attrs.get("dataset_version")
        if found != (self.dataset_id, self.dataset_version):
            raise TemplateDrift(
                f"template of {self.dataset_id!r} version {self.dataset_version!r} was asked for; {self.path} describes "
                f"{found[0]!r} version {found[1]!r}: {advice}"
            )
        if differing := self._differing_arrays(committed):
            raise TemplateDrift(f"code and committed template of {self.dataset_id!r} differ in {differing}: {advice}")
        return committed

    def _differing_arrays(self, committed: xr.Dataset) -> list[str]:
        """Arrays that only one of code and committed template has, or whose labels or layout differ."""
        ds = self.coordinates(self.append_dim.start)
        differing = {*ds.variables, *self.variables} ^ {*committed.variables}
        differing |= {
            dim.name for dim in self.all_dims if not dim.index().equals(committed.indexes.get(dim.name, pd.Index([])))
        }
        layout = self.dim_names, tuple(self.chunks.values()), tuple(self.shards.values())
        differing |= {
            name
            for name, data_var in committed.data_vars.items()
            if (data_var.dims, data_var.encoding["chunks"], data_var.encoding["shards"]) != layout
        }
        return sorted(map(str, differing))

    def _coordinate_encoding(self, ds: xr.Dataset, name: str) -> dict[str, object]:
        chunk: dict[str, int] = {self.append_dim.name: self.append_dim.coordinate_chunk}
        coord = ds[name]
        kinds: dict[str, dict[str, object]] = {
            "M": _TIME,
            "m": _DURATION,
            "f": {"dtype": str(coord.dtype), "fill_value": np.nan},
        }
        if name == "ensemble_member":
            kinds["i"] = {"dtype": "int16", "fill_value": -1}
        from zarr.codecs import ZstdCodec

        kind = kinds.get(coord.dtype.kind, {"dtype": "int64", "fill_value": 0})
        chunks = tuple(chunk.get(str(dim), coord.sizes[dim]) for dim in coord.dims)
        return {**kind, "chunks": chunks, "compressors": (ZstdCodec(level=3),), "_FillValue": None}

    def _data_encoding(self, data_var: DataVar) -> dict[str, object]:
        return {
            "dtype": "float32",
            "fill_value": np.float32("nan"),
            "chunks": tuple(self.chunks.values()),
            "shards": tuple(self.shards.values()),
            "compressors": (compressor_of(data_var),),
        }


def _points_on_the_globe(grid: LambertGrid) -> dict[str, xr.Variable]:
    units = {"latitude": "degree_north", "longitude": "degree_east"}
    return {
        name: xr.Variable(
            ("y", "x"),
            degrees.astype(np.float32),
            {"long_name": name.capitalize(), "standard_name": name, "units": units[name]},
        )
        for name, degrees in zip(units, latitudes_longitudes(grid), strict=True)
    }


def compressor_of(data_var: DataVar) -> "BloscCodec":
    """How the chunks of a variable are compressed.

    Always zstd at level 1: level 3 takes two to three times the CPU for 1 to 13 % fewer bytes, and is read no faster. Means and
    totals over a window (rain, snow, radiation, cloud cover) are flat or zero over large areas; shuffled byte by byte they take
    8 to 19 % fewer bytes than bit by bit, and are read up to twice as fast. Everything else varies from point to point and is
    shuffled bit by bit: up to 18 % fewer bytes for temperatures of 7 mantissa bits (one of five fields: 8 % more), 5 to 27 %
    fewer at 10, and half for categories of many kinds. Blocks of 128 KiB take 14 % less CPU to write and 16 % less to read than
    the 32 KiB that c-blosc would choose, and 1 to 2 % fewer bytes; larger ones gain little, and an update of a shard that is
    published compresses whole blocks anew.

    Notes
    -----
    Source: `python -m benchmarks codecs`, on real messages of GFS, GEFS, HRRR, IFS and AIFS.
    """
    from zarr.codecs import BloscCodec

    patchy = data_var.step_type in ("avg", "accum") and not data_var.flag_values
    return BloscCodec(
        cname="zstd", clevel=1, shuffle="shuffle" if patchy else "bitshuffle", typesize=4, blocksize=BLOSC_BLOCK
    )


def all_nan(shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """A read-only float32 array of NaN that holds one number, whatever its shape."""
    return np.broadcast_to(np.float32("nan"), shape)


_COMMITTED: dict[Path, tuple[tuple[object, ...], xr.Dataset]] = {}


def _read_committed(path: Path) -> xr.Dataset:
    """A committed template, opened once for as long as none of its files changes: a run asks for it again and again."""
    files = sorted((str(file), file.stat()) for file in path.rglob("*") if file.is_file())
    state = tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in files)
    known = _COMMITTED.get(path)
    if known is None or known[0] != state:
        committed: xr.Dataset = xr.open_zarr(path, chunks=None, decode_timedelta=True)
        known = _COMMITTED[path] = state, committed
    return known[1]


def write_arrays(ds: xr.Dataset, names: Iterable[str], path: Path) -> None:
    """Write the documents of some data variables as `write_metadata` does, and nothing else: shards can then be written.

    Parameters
    ----------
    ds : xr.Dataset
        As `get_template` gives it.
    path : Path
        A store that holds none of them yet.
    """
    import zarr

    for name in names:
        encoding = ds[name].encoding
        zarr.create_array(
            path,
            name=name,
            shape=ds[name].shape,
            dtype=encoding["dtype"],
            chunks=encoding["chunks"],
            shards=encoding["shards"],
            compressors=encoding["compressors"],
            fill_value=encoding["fill_value"],
            dimension_names=[str(dim) for dim in ds[name].dims],
            attributes=ds[name].attrs,
        )


def write_metadata(ds: xr.Dataset, path: Path) -> None:
    """Write metadata and coordinate values of a template, but no data chunk, as consolidated Zarr v3.

    Parameters
    ----------
    ds : xr.Dataset
        As `get_template` gives it: encodings carry chunks, shards, compressors, fill values.
    path : Path
        Replaced when it stands; only a folder named `latest.zarr` or `*-tmp.zarr` is ever replaced.

    Raises
    ------
    ValueError
        For a path of another name, or an array without an explicit fill value.
    """
    import zarr

    if path.name != "latest.zarr" and not path.name.endswith("-tmp.zarr"):
        raise ValueError(f"{path} would be overwritten; only 'latest.zarr' and '*-tmp.zarr' may be")
    if unfilled := [str(name) for name in ds.variables if "fill_value" not in ds[name].encoding]:
        raise ValueError(f"arrays {unfilled} have no explicit fill_value in their encoding; every array needs one")
    shutil.rmtree(path, ignore_errors=True)
    with zarr.config.set({"array.write_empty_chunks": True}):
        ds.drop_vars(list(ds.data_vars)).to_zarr(path, mode="w-", zarr_format=3, consolidated=False)
    write_arrays(ds, map(str, ds.data_vars), path)
    consolidate(path)


def _append_attrs(name: str) -> dict[str, str]:
    if name == "init_time":
        return {"long_name": "Forecast initialization time", "standard_name": "forecast_reference_time"}
    return {"long_name": "Time", "standard_name": "time", "axis": "T"}


def differing_files(one: Path, other: Path) -> list[str]:
    """Files, relative to either folder, that are not byte-for-byte the same in both."""
    names = {p.relative_to(root) for root in (one, other) for p in root.rglob("*") if p.is_file()}
    return sorted(str(name) for name in names if _read(one / name) != _read(other / name))


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
