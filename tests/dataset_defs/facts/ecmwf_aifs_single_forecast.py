from tests.dataset_defs.facts import Facts

FIRST, NEWEST = (f"https://example.org/weather/{day}/00/{day}000000" for day in ("20260101", "20260802"))
LINE = '{"date": "20260101", "time": "0000", "type": "fc", "levtype": "sfc", "_length": 999, '

FACTS = Facts(
    url=r"https://example.org/weather/(?P<date>\d{8})/(?P<hour>\d\d)/(?P=date)(?P=hour)0000-(?P<lead>\d+)h\.grib2",
    # Of the variables without a window, then of those with one: the first and the last file.
    first=frozenset((f"{FIRST}-{lead}h.grib2", f"{FIRST}-18h.grib2") for lead in (0, 6)),
    newest=frozenset((f"{NEWEST}-{lead}h.grib2", f"{NEWEST}-18h.grib2") for lead in (0, 6)),
    region=(0.000010944, 1),
    indexes=lambda _: {
        "20260101000000-0h.index": LINE + '"step": "0", "param": "2t", "_offset": 0}',
        "20260101000000-6h.index": (
            f'{LINE}"step": "6", "param": "2t", "_offset": 0}}\n{LINE}"step": "6", "param": "tp", "_offset": 999}}'
        ),
    },
    index_name=r"\d+-(?P<lead>\d+)h\.index",
    made_up=True,
)
