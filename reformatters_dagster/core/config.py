"""Frozen values that say what a dataset is: variables, dimensions, grid, encodings, upstream sources.

In: what `dataset_defs` writes. Out: values every later stage reads and none changes.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Literal, Self

import numpy as np
import pandas as pd
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from reformatters_dagster.core.types import AppendDim, Dim, Timedelta, Timestamp

type Statistic = Literal["instant", "avg", "acc", "max", "min"]
type StepType = Literal["instant", "avg", "accum", "max", "min"]


def _naive(time: pd.Timestamp) -> pd.Timestamp:
    if time.tzinfo is not None:
        raise ValueError(f"{time!r} carries a time zone; times are naive UTC")
    return time.as_unit("us")


Time = Annotated[Timestamp, BeforeValidator(pd.Timestamp), AfterValidator(_naive)]
Duration = Annotated[Timedelta, BeforeValidator(pd.Timedelta)]


class Frozen(BaseModel):
    """A value: compared by content, never changed, no field it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class GribField(Frozen):
    """Which message of a source file holds a variable, by the words of its index and by the numbers inside it."""

    element: str
    """Parameter abbreviation of the index, such as TMP."""
    level: str
    """Level text of the index, such as `2 m above ground`."""
    parameter: tuple[int, int, int]
    """GRIB2 discipline, parameter category, parameter number (code tables 0.0, 4.1, 4.2)."""
    surface: tuple[int, float | None]
    """Type of the first fixed surface (code table 4.5) and its value in SI units; None where the type has no value."""
    statistic: Statistic = "instant"
    """Statistical process over the time window (code table 4.10)."""
    alternatives: tuple[str, ...] = ()
    """Abbreviations the same field has carried at other times."""
    alternative_parameters: tuple[tuple[int, int, int], ...] = ()
    """Other numbers the same field has carried, those of its alternatives included."""
    alternative_surfaces: tuple[tuple[int, float | None], ...] = ()
    """Other surfaces the same field may carry."""
    first_of_duplicates: bool = False
    """The index may name the field twice with the same words; the first message is meant."""


class Deaccumulation(Frozen):
    """How running totals, or running means, become mean rates (see `transforms.deaccumulate_in_place`)."""

    kind: Literal["accumulation", "average"] = "accumulation"
    reset: Annotated[Duration, Field(gt=Timedelta(0))] | None = None
    """How often the source restarts its window; None when it never does."""
    invalid_below: float = -7e-5
    """A rate below this (target units) becomes NaN; a smaller negative one becomes 0."""
    expected_clamp_fraction: float = 0.05
    expected_invalid_fraction: float = 0.0


class DataVar(Frozen):
    """One data variable: what readers see of it, and how it is made from its message."""

    name: str
    long_name: str
    short_name: str
    units: str
    step_type: StepType
    field: GribField
    standard_name: str | None = None
    comment: str | None = None
    flag_values: tuple[int, ...] = ()
    flag_meanings: str | None = None

    window_reset: Duration | None = None
    """Length after which the source restarts its time window; None for instantaneous fields and run-long windows."""
    source_fill_value: float | None = None
    """A value the source writes for "nothing here"; becomes NaN."""
    scale_factor: float = 1.0
    add_offset: float = 0.0
    """Stored value = source value * scale_factor + add_offset (K to degree_Celsius: -273.15)."""
    deaccumulation: Deaccumulation | None = None
    interpolate: bool = False
    """Fill a single missing step from its two neighbours; never for categories."""
    keep_mantissa_bits: int | None = Field(default=7, ge=1, le=23)
    """Bits of the float32 mantissa that are kept; None keeps all."""
    valid_range: tuple[float, float] | None = None
    """Physically possible stored values, for a warning, never for a mask."""

    available_from: Time | None = None
    """First label of the append dimension at which the source has this variable; None for all of them."""
    hour_0: bool | None = None
    """Whether the analysis step holds this variable, where that does not follow from its statistic."""

    @property
    def has_hour_0(self) -> bool:
        """Whether the analysis step holds this variable: windows have no length there."""
        return self.field.statistic == "instant" if self.hour_0 is None else self.hour_0

    @property
    def attrs(self) -> dict[str, object]:
        """Attributes written to the store; GRIB identities and processing switches are not."""
        optional: dict[str, object | None] = {
            "standard_name": self.standard_name,
            "comment": self.comment,
            "flag_values": list(self.flag_values) or None,
            "flag_meanings": self.flag_meanings,
        }
        return {
            "long_name": self.long_name,
            "short_name": self.short_name,
            "units": self.units,
            "step_type": self.step_type,
            **{key: value for key, value in optional.items() if value is not None},
        }


class AppendAxis(Frozen):
    """The dimension that grows: an arithmetic grid from `start` (inclusive) on, without end."""

    name: AppendDim
    start: Time
    frequency: Annotated[Duration, Field(gt=Timedelta(0))]
    years: int = 15
    """Years from 2025 that the first chunk of its coordinates is to hold, so that they stay one object."""

    def labels(self, end: Timestamp) -> pd.DatetimeIndex:
        """Every label in `[start, end)`, at microsecond resolution."""
        return pd.date_range(self.start, end, freq=self.frequency, inclusive="left", name=self.name, unit="us")

    @property
    def coordinate_chunk(self) -> int:
        """Labels in one coordinate chunk."""
        years = max(2025 - self.start.year + self.years, 10)
        return int(pd.Timedelta(days=365 * years) / self.frequency)


class Dimension(Frozen):
    """A dimension other than the append dimension, with all its labels."""

    name: Dim
    labels: tuple[float, ...]
    """Seconds for `lead_time`, the coordinate's own units otherwise."""
    attrs: tuple[tuple[str, str], ...]

    @property
    def is_duration(self) -> bool:
        return self.name == "lead_time"

    def index(self) -> pd.Index:
        """The labels as xarray holds them."""
        values = np.asarray(self.labels, dtype=np.float64)
        if self.name == "ensemble_member":
            return pd.Index(values.astype(np.int16), name=self.name)
        if self.is_duration:
            return pd.TimedeltaIndex((values * 1e6).astype("timedelta64[us]"), name=self.name)
        return pd.Index(values, name=self.name)


def lead_time(**segments: str) -> Dimension:
    """Lead times from 0, in segments of growing step.

    Parameters
    ----------
    **segments : str
        `hourly_to="120h"`, `three_hourly_to="384h"`, `six_hourly_to="840h"`, in that order; each ends inclusively.
    """
    steps = {"hourly_to": 1, "three_hourly_to": 3, "six_hourly_to": 6}
    hours = [0]
    for name, end in segments.items():
        last = round(pd.Timedelta(end) / pd.Timedelta("1h"))
        hours.extend(range(hours[-1] + steps[name], last + 1, steps[name]))
    attrs = {"long_name": "Forecast lead time", "standard_name": "forecast_period"}
    return Dimension(name="lead_time", labels=tuple(h * 3600.0 for h in hours), attrs=tuple(attrs.items()))


def ensemble_member(count: int) -> Dimension:
    """Members of an ensemble, numbered from 0, the control."""
    attrs = {"long_name": "Ensemble member", "standard_name": "realization", "units": "1"}
    return Dimension(
        name="ensemble_member", labels=tuple(float(member) for member in range(count)), attrs=tuple(attrs.items())
    )


class RegularAxis(Frozen):
    """Evenly spaced labels: `first + step * k`, `k` in `[0, size)`, in degrees."""

    first: float
    step: float
    size: int = Field(gt=0)

    def labels(self) -> tuple[float, ...]:
        return _labels(self.first, self.step, self.size)


@lru_cache(maxsize=64)
def _labels(first: float, step: float, size: int) -> tuple[float, ...]:
    return tuple(first + step * k for k in range(size))


class EarthWords(Frozen):
    """What a grid mapping calls a sphere that has no name; readers compare mappings, so it matters who is quoted."""

    geographic: str
    datum: str
    ellipsoid: str
    prime_meridian: str
    axes: str


PROJ_WORDS = EarthWords(
    geographic="unknown",
    datum="unknown",
    ellipsoid="unknown",
    prime_meridian='PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]]',
    axes='AXIS["Longitude",EAST],AXIS["Latitude",NORTH]',
)
GDAL_GRIB_WORDS = EarthWords(
    geographic="Coordinate System imported from GRIB file",
    datum="unnamed",
    ellipsoid="Sphere",
    prime_meridian='PRIMEM["Greenwich",0]',
    axes='AXIS["Latitude",NORTH],AXIS["Longitude",EAST]',
)


class LatLonGrid(Frozen):
    """A regular latitude/longitude grid as the store holds it, and as the source may run over it."""

    latitude: RegularAxis
    longitude: RegularAxis
    earth_radius: float = 6371229.0
    """Sphere the source computes on, in metres (GRIB2 code table 3.2, shape 6), or semi-major axis of its ellipsoid."""
    semi_minor_axis: float | None = Field(default=None, gt=0)
    """In metres, where the source's latitudes and longitudes refer to an ellipsoid; None on a sphere."""
    words: EarthWords = PROJ_WORDS

    @model_validator(mode="after")
    def _is_flattened(self) -> Self:
        if self.semi_minor_axis is not None and self.semi_minor_axis >= self.earth_radius:
            raise ValueError(
                f"semi-minor axis {self.semi_minor_axis!r} of an ellipsoid must be less than its semi-major axis "
                f"{self.earth_radius!r}; leave it out on a sphere"
            )
        return self

    @property
    def dims(self) -> tuple[Dimension, Dimension]:
        latitude = {"long_name": "Latitude", "standard_name": "latitude", "axis": "Y", "units": "degree_north"}
        longitude = {"long_name": "Longitude", "standard_name": "longitude", "axis": "X", "units": "degree_east"}
        return (
            Dimension(name="latitude", labels=self.latitude.labels(), attrs=tuple(latitude.items())),
            Dimension(name="longitude", labels=self.longitude.labels(), attrs=tuple(longitude.items())),
        )

    @property
    def shape(self) -> tuple[int, int]:
        return self.latitude.size, self.longitude.size

    @property
    def spatial_ref_attrs(self) -> dict[str, object]:
        """CF grid mapping plus the well-known text GDAL and rioxarray look for."""
        words, minor = self.words, self.semi_minor_axis
        inverse_flattening = 0.0 if minor is None else self.earth_radius / (self.earth_radius - minor)
        spheroid = f'SPHEROID["{words.ellipsoid}",{self.earth_radius:.0f},{inverse_flattening:.15g}]'
        comment = "Latitudes and longitudes are those of the source, on this ellipsoid, not geodetic WGS 84 ones."
        if minor is None:
            comment = (
                "The model computes on a sphere of this radius; latitudes and longitudes are those of the model, "
                "not geodetic WGS 84 ones."
            )
        wkt = (
            f'GEOGCS["{words.geographic}",DATUM["{words.datum}",{spheroid}],{words.prime_meridian},'
            f'UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],{words.axes}]'
        )
        return {
            "crs_wkt": wkt,
            "semi_major_axis": self.earth_radius,
            "semi_minor_axis": self.earth_radius if minor is None else minor,
            "inverse_flattening": inverse_flattening,
            "reference_ellipsoid_name": words.ellipsoid,
            "longitude_of_prime_meridian": 0.0,
            "prime_meridian_name": "Greenwich",
            "geographic_crs_name": words.geographic,
            "horizontal_datum_name": words.datum,
            "grid_mapping_name": "latitude_longitude",
            "spatial_ref": wkt,
            "comment": comment,
        }


class LambertGrid(Frozen):
    """A grid that is regular on a Lambert conformal conic projection of the sphere, in metres."""

    y: RegularAxis
    x: RegularAxis
    latitude_of_origin: float
    central_meridian: float
    standard_parallels: tuple[float, float]
    earth_radius: float = 6371229.0
    """Sphere the source computes on, in metres (GRIB2 code table 3.2, shape 6)."""

    @property
    def dims(self) -> tuple[Dimension, Dimension]:
        y, x = (
            {
                "long_name": f"{name.upper()} coordinate of projection",
                "standard_name": f"projection_{name}_coordinate",
                "axis": name.upper(),
                "units": "m",
            }
            for name in ("y", "x")
        )
        return (
            Dimension(name="y", labels=self.y.labels(), attrs=tuple(y.items())),
            Dimension(name="x", labels=self.x.labels(), attrs=tuple(x.items())),
        )

    @property
    def shape(self) -> tuple[int, int]:
        return self.y.size, self.x.size

    @property
    def spatial_ref_attrs(self) -> dict[str, object]:
        """CF grid mapping plus the well-known text and the transform GDAL and rioxarray look for."""
        first, second = self.standard_parallels
        wkt = (
            'PROJCS["unnamed",GEOGCS["Coordinate System imported from GRIB file",DATUM["unnamed",'
            f'SPHEROID["Sphere",{self.earth_radius:.0f},0]],PRIMEM["Greenwich",0],'
            'UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]]],PROJECTION["Lambert_Conformal_Conic_2SP"],'
            f'PARAMETER["latitude_of_origin",{self.latitude_of_origin:g}],'
            f'PARAMETER["central_meridian",{self.central_meridian:g}],'
            f'PARAMETER["standard_parallel_1",{first:g}],PARAMETER["standard_parallel_2",{second:g}],'
            'PARAMETER["false_easting",0],PARAMETER["false_northing",0],UNIT["Metre",1],'
            'AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
        )
        x, y = self.x, self.y
        return {
            "crs_wkt": wkt,
            "semi_major_axis": self.earth_radius,
            "semi_minor_axis": self.earth_radius,
            "inverse_flattening": 0.0,
            "reference_ellipsoid_name": "Sphere",
            "longitude_of_prime_meridian": 0.0,
            "prime_meridian_name": "Greenwich",
            "geographic_crs_name": "Coordinate System imported from GRIB file",
            "horizontal_datum_name": "unnamed",
            "grid_mapping_name": "lambert_conformal_conic",
            "spatial_ref": wkt,
            "GeoTransform": f"{x.first - x.step / 2!r} {x.step!r} 0.0 {y.first - y.step / 2!r} 0.0 {y.step!r}",
            "false_easting": 0.0,
            "false_northing": 0.0,
            "latitude_of_projection_origin": self.latitude_of_origin,
            "longitude_of_central_meridian": self.central_meridian,
            "projected_crs_name": "unnamed",
            "standard_parallel": [first, second],
        }


type Grid = LatLonGrid | LambertGrid

GLOBAL_0P25 = LatLonGrid(
    latitude=RegularAxis(first=90.0, step=-0.25, size=721), longitude=RegularAxis(first=-180.0, step=0.25, size=1440)
)

type Answer = Literal["missing", "throttled", "retry", "refused"]

STATUS_ANSWERS: Mapping[int, Answer] = {
    404: "missing",
    429: "throttled",
    500: "retry",
    502: "retry",
    503: "throttled",
    504: "retry",
}
"""What an HTTP status means at a host that says what it means."""


class SourceArchive(Frozen):
    """One place a source file can be had from."""

    url: str
    """Where the archive's keys start: `s3://bucket`, `gs://bucket`, `https://host/path`."""
    folder: str
    """Folder of a mirror (`REFORMATTERS_UPSTREAM`) that stands for it: the bucket, or host and path."""
    region: str | None = None
    """Bucket region, where the archive is on S3."""
    newest: Duration | None = None
    """Files are kept this long after the append label only; None keeps them for good."""
    until: Time | None = None
    """Append label after which there are no files; None where it is still filled."""
    requests_per_minute: int | None = None
    """What the host tolerates; None sets no limit."""
    answers: Mapping[int, Answer] = STATUS_ANSWERS
    """What each HTTP status means at this host."""

    @model_validator(mode="after")
    def _folder_is_relative(self) -> Self:
        if self.folder.startswith("/") or ".." in self.folder.split("/"):
            raise ValueError(f"folder {self.folder!r} must be relative and stay inside the mirror")
        return self


def by_name(data_vars: Iterable[DataVar]) -> dict[str, DataVar]:
    """Variables by name; a repeated name raises."""
    named: dict[str, DataVar] = {}
    for data_var in data_vars:
        if data_var.name in named:
            raise ValueError(f"variable {data_var.name!r} is defined twice")
        named[data_var.name] = data_var
    return named
