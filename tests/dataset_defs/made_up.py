"""A made-up source of a forecast, on a coarse grid: what its files hold is known by formula, and so is what a reader must see.

In: a dataset, and what its source's messages say and in which units. Out: a mirror of its archives, and assertions about the
store that is made of it.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, log2
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from reformatters_dagster.core.grib.identity import ANY_WINDOW
from reformatters_dagster.core.job.grib_job import GribRegionJob
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.outcomes import RunReport
from reformatters_dagster.core.source.files import ForecastFileCoord, whole_hours
from reformatters_dagster.core.spec.axes import AppendAxis, RegularAxis
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar, GribField
from reformatters_dagster.sample_upstream import Encoder
from reformatters_dagster.sample_upstream.weather import Field
from tests.dataset_defs.made_up_files import MadeUpMessage, Origin, write_file
from tests.datasets import Sample, Site
from tests.tiny import shrunk

ROWS_OF_GRID, LABELS = 18, 4
"""How many rows of the grid, about, and how many labels of each further dimension are made up."""
PERIOD = 50.0
"""Hours after which values are the same again."""
STEPS = 2**18
"""Steps of packing between the lowest and the highest value."""
FLOAT32 = 2.0**-22

type InFile = Callable[[str, Timestamp, Field], Field]
"""What the source writes for a variable, an init time and values in the store's units."""


@dataclass(frozen=True)
class MadeUpSource:
    """A mirror with all files of some init times, and the dataset on its coarse grid."""

    dataset: DynamicalDataset
    upstream: Path
    init_times: tuple[Timestamp, ...]
    in_file: InFile
    messages: Mapping[str, GribField]
    origin: Origin | None

    @classmethod
    def write(
        cls,
        folder: Path,
        dataset: DynamicalDataset,
        init_times: Sequence[str],
        in_file: InFile,
        messages: Mapping[str, GribField],
        hours: Sequence[int] = (),
        origin: Origin | None = None,
    ) -> "MadeUpSource":
        """Make up the files of some init times, encoded by another library than decodes them.

        Parameters
        ----------
        in_file : callable
            The source's units. Totals are made of rates before.
        messages : mapping of name to GribField
            What the source's messages say of themselves. A variable that is not named has the message of its row.
        hours : sequence of int, optional
            Lead hours. Default: the first of the dataset.
        origin : (int, int), optional
            Centre and generating process of the messages. Default: those that the encoder writes by itself.
        """
        times = tuple(pd.Timestamp(time).as_unit("us") for time in init_times)
        small = replace(dataset, template_config=_small(dataset, folder / "templates", times[0], hours))
        made = cls(small, folder / "upstream", times, in_file, messages, origin)
        made._archive.mkdir(parents=True)
        with Encoder() as encoder:
            for init_time in times:
                made._write(_job(made._site(folder), init_time), encoder)
        return made

    def assert_read(self, folder: Path) -> None:
        """A backfill of the first init time, and an update at each later one, show a reader what the files hold."""
        site = self._site(folder)
        self._fill(site, self.init_times[0])
        for init_time in self.init_times[1:]:
            assert_complete(site.update(now=init_time + self._soon))
        for init_time in self.init_times:
            self._assert_as_made(site, init_time)

    def assert_hole_is_told_of(self, folder: Path) -> None:
        """A file that is not there is NaN for readers, and the ledger names it."""
        holed = replace(self, upstream=Path(shutil.copytree(self.upstream, folder / "holed")))
        site, init_time = holed._site(folder), self.init_times[0]
        coord, rows = next(
            (coord, rows)
            for coord, rows in _files(_job(site, init_time))
            if coord.lead_time > Timedelta(0) and not any(row.interpolate for row in rows)
        )
        (holed._archive / coord.key()).unlink()
        site.backfill(now=init_time + self._soon, start=init_time, end=init_time + self._frequency)
        entry = site.ledger(init_time)
        assert entry is not None
        for row in rows:
            missing = entry.variables[row.name].missing
            assert {one.file for one in missing} == {coord.key()}, row.name
            assert entry.variables[row.name].succeeded == entry.variables[row.name].expected - len(missing)
            assert site.read()[row.name].sel(coord.out_loc()).isnull().all(), row.name

    @property
    def _archive(self) -> Path:
        return self.upstream / self.dataset.archives[0].folder

    @property
    def _frequency(self) -> Timedelta:
        return self.dataset.template_config.append_dim.frequency

    @property
    def _soon(self) -> Timedelta:
        return self._frequency / 2

    def _site(self, folder: Path) -> Site:
        settings = {"upstream": str(self.upstream)}
        return Site(folder, self.dataset, Sample(self.upstream, self.upstream), settings=settings)

    def _fill(self, site: Site, init_time: Timestamp) -> None:
        report = site.backfill(now=init_time + self._soon, start=init_time, end=init_time + self._frequency)
        assert report.partitions == [init_time]
        assert_complete(report)

    def _write(self, job: GribRegionJob[Any], encoder: Encoder) -> None:
        files: dict[str, list[MadeUpMessage]] = {}
        for coord, rows in _files(job):
            files.setdefault(coord.key(), []).extend(self._message(job, coord, row) for row in rows)
        for key, messages in files.items():
            write_file(self._archive / key, job, messages, _grid_of(self.dataset), encoder)

    def _message(self, job: GribRegionJob[Any], coord: ForecastFileCoord, row: DataVar) -> MadeUpMessage:
        field = self.messages.get(row.name, job.field_at(coord, row))
        member = job.member(coord)
        start, end = self._window(job, coord, row, field)
        values = self.in_file(row.name, coord.init_time, self._mean(coord, row, start, end))
        seconds = 3600 * (end - start) if field.statistic == "acc" else 1
        return MadeUpMessage(
            field=field,
            init_time=coord.init_time,
            start=start,
            end=end,
            member=member[-1] if isinstance(member, tuple) else member,
            values=values * seconds,
            binary_scale=self._binary_scale(row, coord.init_time, seconds),
            origin=self.origin,
        )

    def _window(
        self, job: GribRegionJob[Any], coord: ForecastFileCoord, row: DataVar, field: GribField
    ) -> tuple[int, int]:
        """Lead hours at which the window of a message begins and ends."""
        end = whole_hours(coord.lead_time)
        *_, length = job.times(coord, row)
        if field.statistic == "instant" or length is None:
            return end, end
        return (max(end - 1, 0) if length == ANY_WINDOW else end - whole_hours(length)), end

    def _mean(self, coord: ForecastFileCoord, row: DataVar, start: int, end: int) -> Field:
        """Values in the store's units, as a mean between two lead hours."""
        grid = _grid_of(self.dataset)
        north, east = np.radians(grid.latitude.labels())[:, None], np.radians(grid.longitude.labels())
        shift = 0.37 * (coord.init_time - pd.Timestamp("2000-01-01")) / Timedelta("1h")
        shift += sum(7.0 * label for label in coord.out_loc().values() if isinstance(label, int | float))
        first, last = (2 * np.pi * (hour + shift) / PERIOD for hour in (start, end))
        wave = np.cos(last) if start == end else (np.sin(last) - np.sin(first)) / (last - first)
        share: Field = 0.5 + 0.2 * np.sin(3 * north) * np.cos(2 * east) + 0.3 * wave
        lowest, highest = _range(row)
        if row.flag_values:
            flags: Field = np.array(row.flag_values, np.float64)[(share * len(row.flag_values)).astype(int)]
            return flags
        return lowest + (highest - lowest) * share

    def _binary_scale(self, row: DataVar, init_time: Timestamp, seconds: int) -> int:
        if row.flag_values:
            return 0
        lowest, highest = _range(row)
        return floor(log2((highest - lowest) * self._per_unit(row, init_time) * seconds / STEPS))

    def _per_unit(self, row: DataVar, init_time: Timestamp) -> float:
        """How many of the source's units one of the store's is."""
        zero, one = self.in_file(row.name, init_time, np.array([0.0, 1.0]))
        return float(abs(one - zero))

    def _assert_as_made(self, site: Site, init_time: Timestamp) -> None:
        ds, job = site.read(), _job(site, init_time)
        for coord, rows in _files(job):
            for row in rows:
                found = ds[row.name].sel(coord.out_loc())
                self._assert_field(found, self._message(job, coord, row), coord, row)

    def _assert_field(
        self, found: xr.DataArray, message: MadeUpMessage, coord: ForecastFileCoord, row: DataVar
    ) -> None:
        """Equal within half a step of packing, what float32 loses, and the rounding of the mantissa."""
        start, end, units = message.start, message.end, self._per_unit(row, coord.init_time)
        step = 2.0**message.binary_scale / 2 + np.abs(message.values).max() * FLOAT32
        if row.deaccumulation is not None:
            (dim,) = (dim for dim in self.dataset.template_config.dims if dim.name == "lead_time")
            leads = [whole_hours(lead) for lead in dim.index()]
            start = max(start, leads[leads.index(end) - 1])
            step *= 2 / (3600 * (end - start) if message.field.statistic == "acc" else 1)
        wanted = self._mean(coord, row, start, end)
        rounding = 0.0 if row.keep_mantissa_bits is None else 2.0 ** -(row.keep_mantissa_bits + 1)
        tolerance = step / units + np.abs(wanted) * rounding * 1.01
        where = f"{row.name} of {coord.init_time}, lead time {end} h"
        assert not found.isnull().any(), f"{where} is missing"
        excess = (np.abs(found.to_numpy() - wanted) - tolerance).max()
        assert excess <= 0, (
            f"{where} is {excess:g} further from the file than packing explains: found {found.to_numpy().ravel()[:3]}, "
            f"wanted {wanted.ravel()[:3]}; do the row's factors fit the source's units?"
        )


def assert_complete(report: RunReport) -> None:
    """Every file could be read; else say why the first could not. A row that asks for another message shows here."""
    assert report.failures == {}
    for commit in report.commits:
        for variable, coverage in commit.entry.variables.items():
            assert not coverage.missing, f"{variable} lacks {coverage.missing[0].file}: {coverage.missing[0].reason}"


def _job(site: Site, init_time: Timestamp) -> GribRegionJob[Any]:
    job = site.job(init_time)
    assert isinstance(job, GribRegionJob)
    return job


def _files(job: GribRegionJob[Any]) -> Iterator[tuple[ForecastFileCoord, tuple[DataVar, ...]]]:
    """Each file that the job wants, or its part of one member, with the variables that it is wanted for."""
    region_ds = job.template_ds.isel({job.append_dim: job.region})
    wanted: dict[ForecastFileCoord, tuple[DataVar, ...]] = {}
    for group in job.source_groups(job.data_vars):
        for coord in job.source_files(region_ds, group):
            wanted[coord] = wanted.get(coord, ()) + tuple(group)
    yield from wanted.items()


def _range(row: DataVar) -> tuple[float, float]:
    return row.valid_range or (0.0, 1.0)


def _grid_of(dataset: DynamicalDataset) -> LatLonGrid:
    grid = dataset.template_config.grid
    assert isinstance(grid, LatLonGrid), "for another grid write messages as reformatters_dagster/sample_upstream does"
    return grid


def _small(dataset: DynamicalDataset, folder: Path, first: Timestamp, hours: Sequence[int]) -> Any:
    """The dataset's template from `first` on, with fewer labels and grid points."""
    template, grid = dataset.template_config, _grid_of(dataset)
    every = max(min(grid.shape) // ROWS_OF_GRID, 1)

    def coarser(axis: RegularAxis) -> RegularAxis:
        return RegularAxis(first=axis.first, step=axis.step * every, size=ceil(axis.size / every))

    dims = []
    for dim in template.dims:
        wanted = tuple(3600.0 * hour for hour in hours) if dim.name == "lead_time" else ()
        dims.append(dim.model_copy(update={"labels": wanted or dim.labels[:LABELS]}))
    axis, small = template.append_dim, LatLonGrid(latitude=coarser(grid.latitude), longitude=coarser(grid.longitude))
    sizes = {axis.name: 1, **{dim.name: len(dim.labels) for dim in dims}} | dict(
        zip(("latitude", "longitude"), small.shape, strict=True)
    )
    return shrunk(
        template,
        folder,
        append_dim=AppendAxis(name=axis.name, start=first, frequency=axis.frequency),
        dims=tuple(dims),
        grid=small,
        chunks=sizes,
        shards=sizes,
    )
