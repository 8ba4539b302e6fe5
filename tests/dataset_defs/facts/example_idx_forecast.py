from tests.dataset_defs.facts import Facts

FIRST, NEWEST = (f"https://example.org/weather/{day}/00" for day in ("20260101", "20260802"))

FACTS = Facts(
    url=r"https://example.org/weather/(?P<date>\d{8})/(?P<hour>\d\d)/f(?P<lead>\d{3})\.grib2",
    # Of the variables without a window, then of those with one: the first and the last file.
    first=frozenset((f"{FIRST}/f00{lead}.grib2", f"{FIRST}/f018.grib2") for lead in (0, 6)),
    newest=frozenset((f"{NEWEST}/f00{lead}.grib2", f"{NEWEST}/f018.grib2") for lead in (0, 6)),
    region=(0.000010944, 1),
    indexes=lambda _: {
        "f000.grib2.idx": "1:0:d=2026010100:TMP:2 m above ground:anl:",
        "f006.grib2.idx": (
            "1:0:d=2026010100:TMP:2 m above ground:6 hour fcst:\n2:999:d=2026010100:APCP:surface:0-6 hour acc fcst:"
        ),
    },
    index_name=r"f(?P<lead>\d{3})\.grib2\.idx",
    made_up=True,
)
