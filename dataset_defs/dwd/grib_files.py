"""What DWD's files on regular grids share: names of files, time windows. In: times and an element. Out: words and lengths."""

from reformatters_dagster.core.grib.identity import ANY_WINDOW, AnyWindow
from reformatters_dagster.core.source.files import whole_hours
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import Statistic


def file_name(init_time: Timestamp, lead_time: Timedelta, element: str) -> str:
    """Name of the ICON-EU file of a single-level element."""
    return (
        f"icon-eu_europe_regular-lat-lon_single-level_{init_time:%Y%m%d%H}_{whole_hours(lead_time):03d}"
        f"_{element.upper()}.grib2.bz2"
    )


def window_length(statistic: Statistic, lead_time: Timedelta) -> Timedelta | AnyWindow | None:
    """Length of the time window that ends at a lead time: means and totals reach back to the start of the run."""
    if statistic == "instant":
        return None
    return lead_time if statistic in ("avg", "acc") else ANY_WINDOW
