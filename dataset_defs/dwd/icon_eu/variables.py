"""Variables of DWD's ICON-EU files, one row each: where the source keeps them, and what differs."""

from dataset_defs.dwd.grib_files import ABOVE_2M, ABOVE_10M, COLUMN, GROUND, SEA_LEVEL, Level, dwd_field
from reformatters_dagster import DataVar, Deaccumulation

KG_PER_M2_TO_M = 0.001
CLAMPED_RADIATION = 0.4
"""Share of rates that may be slightly negative: at night a running mean only fades, and packing noise is multiplied."""

_SINCE_BEFORE = (
    "Mean over the time since the previous lead time, 1 h before up to lead time 78 h and 3 h before from then on"
)
_NO_STEP_BEFORE = "NaN at lead time 0, which has no previous one."

_row = DataVar.standard


def _cloud(kind: str, element: str, top_pascal: float, between: str) -> DataVar:
    return _row(
        f"cloud_cover_{kind}",
        dwd_field(element, (0, 6, 22), Level(between, (100, top_pascal))),
        comment=f"Share of the sky covered by clouds in the layer {between}.",
    )


def _radiation(kind: str, element: str, number: int, invalid_below: float) -> DataVar:
    return _row(
        f"downward_{kind}_short_wave_radiation_flux_surface",
        dwd_field(element, (0, 4, number), GROUND, "avg"),
        comment=f"{_SINCE_BEFORE}, made from the means since the start of the forecast that the source has. {_NO_STEP_BEFORE}",
        deaccumulation=Deaccumulation(
            kind="average", invalid_below=invalid_below, expected_clamp_fraction=CLAMPED_RADIATION
        ),
    )


# Bits that differ from the standard are those that the public dataset of this name keeps.
ICON_EU_DATA_VARS = (
    _row("temperature_2m", dwd_field("T_2M", (0, 0, 0), ABOVE_2M)),
    _row("dew_point_temperature_2m", dwd_field("TD_2M", (0, 0, 6), ABOVE_2M)),
    _row("relative_humidity_2m", dwd_field("RELHUM_2M", (0, 1, 1), ABOVE_2M)),
    _row("wind_u_10m", dwd_field("U_10M", (0, 2, 2), ABOVE_10M), keep_mantissa_bits=7),
    _row("wind_v_10m", dwd_field("V_10M", (0, 2, 3), ABOVE_10M), keep_mantissa_bits=7),
    _row(
        "wind_gust_10m",
        dwd_field("VMAX_10M", (0, 2, 22), ABOVE_10M, "max"),
        comment="Highest gust in a window that ends at the valid time; at lead time 0 no window has begun.",
        keep_mantissa_bits=7,
    ),
    _row("pressure_surface", dwd_field("PS", (0, 3, 0), GROUND)),
    _row("pressure_reduced_to_mean_sea_level", dwd_field("PMSL", (0, 3, 1), SEA_LEVEL)),
    _row(
        "precipitation_surface",
        dwd_field("TOT_PREC", (0, 1, 52), GROUND, "acc"),
        comment=f"{_SINCE_BEFORE}, made from the totals since the start of the forecast that the source has. {_NO_STEP_BEFORE}",
        deaccumulation=Deaccumulation(),
        keep_mantissa_bits=8,
    ),
    _row("precipitable_water_atmosphere", dwd_field("TQV", (0, 1, 64), COLUMN)),
    _row("total_cloud_cover_atmosphere", dwd_field("CLCT", (0, 6, 1), COLUMN)),
    _cloud("low", "CLCL", 80_000.0, "from the ground up to 800 hPa"),
    _cloud("medium", "CLCM", 40_000.0, "from 800 to 400 hPa"),
    _cloud("high", "CLCH", 0.0, "above 400 hPa"),
    _row("convective_available_potential_energy_atmosphere", dwd_field("CAPE_CON", (0, 7, 6), COLUMN)),
    _radiation("direct", "ASWDIR_S", 198, -1000.0),
    _radiation("diffuse", "ASWDIFD_S", 199, -50.0),
    _row("snow_thickness_surface", dwd_field("H_SNOW", (0, 1, 11), GROUND)),
    _row(
        "snow_water_equivalent_surface",
        dwd_field("W_SNOW", (0, 1, 60), GROUND),
        comment="Depth of the water that the snow on the ground would melt to.",
        scale_factor=KG_PER_M2_TO_M,
    ),
)
