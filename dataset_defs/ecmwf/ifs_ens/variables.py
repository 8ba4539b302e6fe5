"""Variables of ECMWF's IFS ensemble, one row each: where the source keeps them, and what differs."""

from typing import Any

import pandas as pd

from dataset_defs.ecmwf.fields import ecmwf_field
from dataset_defs.ecmwf.grib_job import EcmwfVar
from reformatters_dagster import Deaccumulation

M_TO_KG_PER_M2 = 1000.0
SHARE_TO_PERCENT = 100.0
PRESSURE_BITS = 11
"""As many as the public dataset of this name keeps."""
NOISE = {"expected_clamp_fraction": 0.08, "expected_invalid_fraction": 0.01}
"""Shares of rates that packing alone turns negative: totals of the whole run are packed as finely as their maximum allows."""

_MEAN = (
    "Mean over the time since the previous lead time, 3 h before up to lead time 144 h and 6 h before from then on, made from "
    "the totals since the start of the forecast that the source has. NaN at lead time 0, which has no previous one."
)
_RADIATION: dict[str, Any] = {"comment": _MEAN, "deaccumulation": Deaccumulation(invalid_below=-50.0, **NOISE)}

_row = EcmwfVar.standard

IFS_ENS_DATA_VARS = (
    _row(
        "categorical_precipitation_type_surface",
        ecmwf_field("ptype"),
        comment="The kind of precipitation at the valid time, by the codes of GRIB2 code table 4.201.",
        available_from=pd.Timestamp("2024-11-13"),
    ),
    _row("dew_point_temperature_2m", ecmwf_field("2d")),
    _row("downward_long_wave_radiation_flux_surface", ecmwf_field("strd"), **_RADIATION),
    _row("downward_short_wave_radiation_flux_surface", ecmwf_field("ssrd"), **_RADIATION),
    _row("geopotential_height_500hpa", ecmwf_field("gh", 500)),
    _row("geopotential_height_850hpa", ecmwf_field("gh", 850)),
    _row("geopotential_height_925hpa", ecmwf_field("gh", 925)),
    _row(
        "precipitation_surface",
        ecmwf_field("tp"),
        comment=_MEAN,
        scale_factor=M_TO_KG_PER_M2,
        deaccumulation=Deaccumulation(**NOISE),
    ),
    _row("pressure_reduced_to_mean_sea_level", ecmwf_field("msl"), keep_mantissa_bits=PRESSURE_BITS),
    _row("pressure_surface", ecmwf_field("sp"), keep_mantissa_bits=PRESSURE_BITS),
    _row("temperature_2m", ecmwf_field("2t")),
    _row("temperature_850hpa", ecmwf_field("t", 850)),
    _row("temperature_925hpa", ecmwf_field("t", 925)),
    _row(
        "total_cloud_cover_atmosphere",
        ecmwf_field("tcc"),
        scale_factor=SHARE_TO_PERCENT,
        available_from=pd.Timestamp("2025-11-21"),
    ),
    _row(
        "wind_gust_10m",
        ecmwf_field("10fg"),
        comment="Highest gust in a window that ends at the valid time; NaN at lead time 0, where no window has begun.",
        available_from=pd.Timestamp("2024-11-13"),
        param_by_lead_time=(("93h", "144h", "10fg3"),),
    ),
    _row("wind_u_100m", ecmwf_field("100u")),
    _row("wind_u_10m", ecmwf_field("10u")),
    _row("wind_v_100m", ecmwf_field("100v")),
    _row("wind_v_10m", ecmwf_field("10v")),
)
