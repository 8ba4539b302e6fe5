from tests.dataset_defs.facts import Facts

ARCHIVE = "https://example.org/weather"
# Of each variable: its first lead time, which is 6 for those that need a window.
VARIABLES = {"temperature_2m": 0, "precipitation_surface": 6}

FACTS = Facts(
    url=ARCHIVE + r"/(?P<date>\d{8})/(?P<hour>\d\d)/(?P<variable>[a-z0-9_]+)_f(?P<lead>\d{3})\.grib2",
    first=frozenset(
        (f"{ARCHIVE}/20260101/00/{name}_f00{lead}.grib2", f"{ARCHIVE}/20260101/00/{name}_f018.grib2")
        for name, lead in VARIABLES.items()
    ),
    newest=frozenset(
        (f"{ARCHIVE}/20260802/00/{name}_f00{lead}.grib2", f"{ARCHIVE}/20260802/00/{name}_f018.grib2")
        for name, lead in VARIABLES.items()
    ),
    region=(0.000010944, 1),
    made_up=True,
)
