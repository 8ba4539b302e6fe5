"""The picture of the demo. In: one forecast of the store. Out: a PNG that says that it is no weather that ever was."""

from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr

from reformatters_dagster.demo.folder import LEAD_HOURS, SAMPLE_DATA
from reformatters_dagster.pictures import MapPanel, draw_maps, labels_in_words, panel_of

PRESSURE = "pressure_reduced_to_mean_sea_level"


def draw_forecast(ds: xr.Dataset, lead_hours: int = LEAD_HOURS[-1]) -> bytes:
    """A picture of one forecast, as a reader of the store sees it, titled as sample data.

    Parameters
    ----------
    ds : xr.Dataset
        One init time of the store.
    """
    fields = ds.sel(lead_time=pd.Timedelta(hours=lead_hours))
    pressure, u, v = (fields[name].to_numpy() for name in (PRESSURE, "wind_u_10m", "wind_v_10m"))
    temperature, precipitation, isobars = (
        panel_of(fields[name], title=str(fields[name].attrs["long_name"]))
        for name in ("temperature_2m", "precipitation_surface", PRESSURE)
    )
    wind = MapPanel(
        np.hypot(u, v),
        temperature.latitude,
        temperature.longitude,
        "10 metre wind",
        str(fields["wind_u_10m"].attrs["units"]),
        variable="wind_speed",
        wind=(u, v),
    )
    panels = [temperature, precipitation, replace(isobars, isobars=pressure), wind]
    return draw_maps(panels, picture_title(ds, lead_hours))


def picture_title(ds: xr.Dataset, lead_hours: int) -> str:
    """What is drawn, of which init time; first of all, that it is no weather that ever was."""
    labels = {"init_time": pd.Timestamp(ds["init_time"].item()), "lead_time": pd.Timedelta(hours=lead_hours)}
    name = str(ds.attrs["name"]).removeprefix(f"{SAMPLE_DATA}: ")
    return f"{SAMPLE_DATA}: {name}, {labels_in_words(labels)}"
