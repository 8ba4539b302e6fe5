from dataclasses import replace
from pathlib import Path
from re import Match
from typing import Any

from dataset_defs.noaa.gefs.files import GefsFileCoord
from dataset_defs.noaa.gefs.variables import GefsDataVar
from reformatters_dagster.core.source.files import SourceFileCoord
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.variables import DataVar
from tests.dataset_defs.facts import Facts, by_init_and_lead, has_no_window_yet, real_indexes

FORECASTS, REFORECASTS = "s3://noaa-gefs-pds", "s3://noaa-gefs-retrospective/GEFSv12/reforecast"
FOLDERS = {"s": "pgrb2sp25", "a": "pgrb2ap5", "b": "pgrb2bp5"}
GRIDS = {"s": "0p25", "a": "0p50", "b": "0p50"}
KINDS_OF = {"s+a": "sa", "s+b": "sb", "s+b-b22": "sb", "a": "a", "b": "b"}


def current(init: str, kind: str, lead: int, member: str = "c00") -> str:
    """URL of a version 12 file."""
    name = f"ge{member}.t{init[-2:]}z.pgrb2{kind}.{GRIDS[kind]}.f{lead:03d}"
    return f"{FORECASTS}/gefs.{init}/atmos/{FOLDERS[kind]}/{name}"


def gefs_coord(init_time: Timestamp, name: Match[str]) -> dict[str, Any]:
    """The fields of a coord, from an index's name."""
    member = int(name["member"].lstrip("cp"))
    return {**by_init_and_lead(init_time, name), "ensemble_member": member, "product": name["kind"]}


def gefs_indexes(shared_data: Path) -> dict[str, str]:
    """Those of members, and of the ensemble mean, whose files hold the same as the control's."""
    found = real_indexes("*--ge*.t*z.pgrb2*.idx")(shared_data)
    return {name.replace("--geavg.", "--gec00."): text for name, text in found.items()}


def is_in_other_files(coord: SourceFileCoord, data_var: DataVar) -> bool:
    """Files of one kind lack what the others have.

    Extremes of a window of no length are in the first, and sea level pressure, as plain pressure, in those of kind b; neither
    is asked for there.
    """
    assert isinstance(data_var, GefsDataVar)
    assert isinstance(coord, GefsFileCoord)
    if coord.product == "b" and "PRES" in data_var.field.alternatives:
        return False
    has_none_yet = has_no_window_yet(coord, data_var) and data_var.step_type not in ("max", "min")
    return coord.product not in KINDS_OF[data_var.gefs_file_type] or has_none_yet


GEFS = Facts(
    url="",
    first=frozenset(),
    newest=frozenset(),
    region=(0.0, 0),
    indexes=gefs_indexes,
    index_name=r".*--ge(?P<member>[cp]\d\d)\.t\d\dz\.pgrb2(?P<kind>[abs])\.0p\d\d\.f(?P<lead>\d{3})\.idx",
    coord_of=gefs_coord,
    not_in=is_in_other_files,
    # tests/dataset_defs/noaa/test_gefs_files.py
    stated_elsewhere=frozenset({"gefs_file_type", "available_from", "include_lead_time_suffix"}),
)
"""What both GEFS datasets share."""

# The newest shard began on 2025-08-17; the newest label is 9 UTC of the second of August.
NEWEST = {kind: current("20260802/06", kind, 3) for kind in "sab"}

FACTS = replace(
    GEFS,
    url=(
        rf"{FORECASTS}/gefs\.(?P<date>\d{{8}})/(?P<hour>\d\d)/atmos/pgrb2(?P<product>[sab])p2?5"
        r"/gec00\.t(?P=hour)z\.pgrb2(?P=product)\.0p(?:25|50)\.f(?P<lead>00[036])"
        rf"|{REFORECASTS}/\d{{4}}/\d{{8}}00/c00/Days:1-10/[a-z0-9]+_[a-z0-9_]+_\d{{8}}00_c00\.grib2"
    ),
    first=frozenset(),
    newest=frozenset(
        {(current("20250817/00", kind, 0), NEWEST[kind]) for kind in "sab"}
        | {(current("20250816/18", "s", 6), NEWEST["s"])}
    ),
    # tests/dataset_defs/noaa/test_gefs_analysis.py: the name of the reforecast
    stated_elsewhere=GEFS.stated_elsewhere | {"grib_element_alternatives"},
    begins=Timestamp("2000-01-01T03"),
    region=(11.96, 8),
)
