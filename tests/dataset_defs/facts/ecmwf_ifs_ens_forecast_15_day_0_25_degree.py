from re import Match
from typing import Any

from dataset_defs.ecmwf.grib_job import EcmwfVar
from reformatters_dagster.core.source.files import ForecastFileCoord, SourceFileCoord
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.variables import DataVar
from tests.dataset_defs.facts import Facts, by_init_and_lead, has_no_window_yet, real_indexes

BUCKET = "gs://ecmwf-open-data"
FIRST, NEWEST = (f"{BUCKET}/{day}/00z/ifs/0p25" for day in ("20240401", "20260802"))


def ifs_coord(init_time: Timestamp, name: Match[str]) -> dict[str, Any]:
    """The control where the file has it, else member 1."""
    apart = init_time >= Timestamp("2026-05-12T06") and name["kind"] == "enfo-ef"
    return {**by_init_and_lead(init_time, name), "ensemble_member": int(apart)}


def is_not_there(coord: SourceFileCoord, data_var: DataVar) -> bool:
    """Windows at lead time 0, and what came later."""
    assert isinstance(coord, ForecastFileCoord)
    assert isinstance(data_var, EcmwfVar)
    came = {"total_cloud_cover_atmosphere": "2025-11-21"} | dict.fromkeys(
        ("categorical_precipitation_type_surface", "wind_gust_10m"), "2024-11-13"
    )
    return has_no_window_yet(coord, data_var) or coord.init_time < Timestamp(came.get(data_var.name, "2024-04-01"))


FACTS = Facts(
    url=(
        BUCKET + r"/(?P<date>\d{8})/(?P<hour>00)z/ifs/0p25/(?:enfo|oper)"
        r"/(?P=date)(?P=hour)0000-(?P<lead>\d+)h-(?:enfo-ef|oper-fc)\.grib2"
    ),
    first=frozenset(
        (f"{FIRST}/enfo/20240401000000-{lead}h-enfo-ef.grib2", f"{FIRST}/enfo/20240401000000-360h-enfo-ef.grib2")
        for lead in (0, 3)
    ),
    newest=frozenset(
        (f"{NEWEST}/oper/20260802000000-{lead}h-oper-fc.grib2", f"{NEWEST}/enfo/20260802000000-360h-enfo-ef.grib2")
        for lead in (0, 3)
    ),
    region=(18.0, 15),
    indexes=real_indexes("sample--*-*h-*.index"),
    index_name=r"sample--\d+-(?P<lead>\d+)h-(?P<kind>enfo-ef|oper-fc)\.index",
    coord_of=ifs_coord,
    not_in=is_not_there,
    # tests/dataset_defs/ecmwf/test_ifs_ens_forecast.py
    stated_elsewhere=frozenset(
        {
            "grib_index_param_lead_time_overrides",
            "mars",
        }
    ),
)
