"""ECMWF AIFS Single forecast: global 0.25 degree, every 6 h, lead times 0-360 h.

A GRIB2 file holds all variables at one lead time. An `.index` lies beside it, in the words of MARS, as ECMWF has it.
"""

import pandas as pd

from dataset_defs.ecmwf.archives import ECMWF_ARCHIVES, open_data_key
from dataset_defs.ecmwf.attributes import ecmwf_attributes
from dataset_defs.ecmwf.fields import ecmwf_field
from dataset_defs.ecmwf.grib_job import ECMWF
from reformatters_dagster import (
    GLOBAL_0P25,
    STANDARD_CHECKS,
    AppendAxis,
    CheckCurrentData,
    CheckRecentNans,
    DataVar,
    Deaccumulation,
    DynamicalDataset,
    ForecastFileCoord,
    ForecastRegionJob,
    GribField,
    MarsIndexGribRegionJob,
    TemplateConfig,
    lead_time,
)

V1, OPERATIONAL = (pd.Timestamp(time).as_unit("us") for time in ("2025-02-24T06", "2025-02-25T06"))
"""Init times from which on there is version 1, with more variables, and from which on it is no experiment."""
AIFS_PROCESSES = range(1, 100)
"""A file of 2026 shows number 4; those of the IFS begin at 100."""
PRESSURE_BITS = 11
"""As many as the public dataset of this name keeps."""
_MEAN = (
    "Mean over the 6 h before the valid time, made from the totals since the start of the forecast that the source has. "
    "NaN at lead time 0, where nothing has been summed yet."
)

_row = DataVar.standard


def _radiation(name: str, param: str) -> DataVar:
    rates = Deaccumulation(invalid_below=-50.0, expected_clamp_fraction=0.08)
    return _row(name, ecmwf_field(param), comment=_MEAN, deaccumulation=rates, available_from=V1)


def _height(hectopascal: int) -> DataVar:
    """From a geopotential, by standard gravity."""
    return _row(f"geopotential_height_{hectopascal}hpa", ecmwf_field("z", hectopascal), scale_factor=1 / 9.80665)


DATA_VARS = (
    _row("dew_point_temperature_2m", ecmwf_field("2d")),
    _radiation("downward_long_wave_radiation_flux_surface", "strd"),
    _radiation("downward_short_wave_radiation_flux_surface", "ssrd"),
    *map(_height, (500, 850, 925)),
    _row(
        "precipitation_surface",
        ecmwf_field("tp", other_numbers=((0, 1, 52),)),
        comment=_MEAN,
        deaccumulation=Deaccumulation(expected_clamp_fraction=0.08),
        earlier_scale_factors=((V1, 1000.0),),  # metres
    ),
    _row("pressure_reduced_to_mean_sea_level", ecmwf_field("msl"), keep_mantissa_bits=PRESSURE_BITS),
    _row("pressure_surface", ecmwf_field("sp"), keep_mantissa_bits=PRESSURE_BITS),
    _row("temperature_2m", ecmwf_field("2t")),
    _row("temperature_850hpa", ecmwf_field("t", 850)),
    _row("temperature_925hpa", ecmwf_field("t", 925)),
    # In percent, so it has WMO's number, not ECMWF's own for a share of 1.
    _row(
        "total_cloud_cover_atmosphere",
        GribField(element="tcc", level="sfc", parameter=(0, 6, 1), surface=(1, None)),
        available_from=V1,
    ),
    _row("wind_u_100m", ecmwf_field("100u"), available_from=V1),
    _row("wind_u_10m", ecmwf_field("10u")),
    _row("wind_v_100m", ecmwf_field("100v"), available_from=V1),
    _row("wind_v_10m", ecmwf_field("10v")),
)

TEMPLATE = TemplateConfig(
    dataset_id="ecmwf-aifs-single-forecast",
    dataset_version="0.1.0",
    attributes=ecmwf_attributes(
        name="ECMWF AIFS Single forecast",
        description="Weather forecasts of ECMWF's Artificial Intelligence Forecasting System (AIFS), the single forecast.",
        spatial_domain="Global",
        spatial_resolution="0.25 degrees (~20km)",
        time_resolution="Forecasts initialized every 6 hours",
        forecast_domain="Forecast lead time 0-360 hours (0-15 days) ahead",
        forecast_resolution="6 hourly",
    ),
    append_dim=AppendAxis(name="init_time", start="2024-04-01T00", frequency="6h"),
    dims=(lead_time(six_hourly_to="360h"),),
    grid=GLOBAL_0P25,
    chunks={"init_time": 1, "lead_time": 61, "latitude": 241, "longitude": 240},
    shards={"init_time": 1, "lead_time": 61, "latitude": 723, "longitude": 1440},
    data_vars=DATA_VARS,
)


class FileCoord(ForecastFileCoord):
    """One lead time of one init."""

    def key(self) -> str:
        """Path of the file below each archive's URL."""
        folder = "aifs/0p25/oper"
        if self.init_time >= V1:
            folder = f"aifs-single/0p25/{'' if self.init_time >= OPERATIONAL else 'experimental/'}oper"
        return open_data_key(self.init_time, self.lead_time, folder=folder, kind="oper-fc")

    def get_url(self) -> str:
        return f"{ECMWF_ARCHIVES[0].url}/{self.key()}"


class AifsSingleForecastRegionJob(
    ForecastRegionJob[FileCoord],
    MarsIndexGribRegionJob[FileCoord],
):
    """One init time."""

    source_file_coord = FileCoord
    centre = ECMWF

    def processes(self, coord: FileCoord) -> range | None:
        # No file at hand shows the numbers from before version 1.
        return AIFS_PROCESSES if coord.init_time >= V1 else None


DATASET = DynamicalDataset(
    template_config=TEMPLATE,
    region_job=AifsSingleForecastRegionJob,
    archives=ECMWF_ARCHIVES,
    documentation="https://www.ecmwf.int/en/forecasts/datasets/open-data",
    validators=(CheckCurrentData(max_delay="8h"), CheckRecentNans(), *STANDARD_CHECKS),
    partitions_per_run=8,
)
