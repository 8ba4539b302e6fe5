"""Horizontal grids: two axes, the earth they lie on, and what the store says of both.

In: axes and the numbers of a projection. Out: dimensions, and the attributes of the CF grid mapping.
"""

from typing import Self

from pydantic import Field, model_validator

from reformatters_dagster.core.spec.axes import Dimension, RegularAxis
from reformatters_dagster.core.spec.values import Frozen


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
"""As PROJ names a sphere; what a grid says unless told otherwise.

>>> PROJ_WORDS.model_copy(update={"ellipsoid": "IAU 1965"}).ellipsoid
'IAU 1965'
"""

GDAL_GRIB_WORDS = EarthWords(
    geographic="Coordinate System imported from GRIB file",
    datum="unnamed",
    ellipsoid="Sphere",
    prime_meridian='PRIMEM["Greenwich",0]',
    axes='AXIS["Latitude",NORTH],AXIS["Longitude",EAST]',
)
"""As GDAL names the sphere of a GRIB file.

>>> GDAL_GRIB_WORDS.ellipsoid
'Sphere'
"""


class LatLonGrid(Frozen):
    """A regular latitude/longitude grid as the store holds it, and as the source may run over it.

    >>> grid = LatLonGrid(
    ...     latitude=RegularAxis(first=90.0, step=-1.0, size=181), longitude=RegularAxis(first=-180.0, step=1.0, size=360)
    ... )
    >>> grid.shape
    (181, 360)
    """

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
    """A grid that is regular on a Lambert conformal conic projection of the sphere, in metres.

    >>> grid = LambertGrid(
    ...     y=RegularAxis(first=1_586_693.8, step=-3000.0, size=1059),
    ...     x=RegularAxis(first=-2_697_520.1, step=3000.0, size=1799),
    ...     latitude_of_origin=38.5,
    ...     central_meridian=-97.5,
    ...     standard_parallels=(38.5, 38.5),
    ... )
    >>> [dim.name for dim in grid.dims]
    ['y', 'x']
    """

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
"""The whole globe by a quarter of a degree, from 90 N and 180 W on.

>>> GLOBAL_0P25.shape
(721, 1440)
"""
