from tests.dataset_defs.facts import Facts, has_every_message

FIRST, NEWEST = "gs://ecmwf-open-data/20240401/00z/aifs/0p25", "gs://ecmwf-open-data/20260802/06z/aifs-single/0p25"
INDEX = "idx_only/dynamical-org__reformatters--aifs_single_20250301_00z_{}h.index"

FACTS = Facts(
    url=(
        r"gs://ecmwf-open-data/(?P<date>\d{8})/(?P<hour>\d\d)z/aifs(?:-single)?/0p25/oper/"
        r"(?P=date)(?P=hour)0000-(?P<lead>\d+)h-oper-fc\.grib2"
    ),
    # Of the variables without a window, then of those with one: the first and the last file.
    first=frozenset(
        (f"{FIRST}/oper/20240401000000-{lead}h-oper-fc.grib2", f"{FIRST}/oper/20240401000000-360h-oper-fc.grib2")
        for lead in (0, 6)
    ),
    newest=frozenset(
        (f"{NEWEST}/oper/20260802060000-{lead}h-oper-fc.grib2", f"{NEWEST}/oper/20260802060000-360h-oper-fc.grib2")
        for lead in (0, 6)
    ),
    region=(0.253, 1),
    indexes=lambda data: {
        f"20250301000000-{lead}h-oper-fc.index": (data / INDEX.format(lead)).read_text() for lead in (0, 6)
    },
    index_name=r"\d+-(?P<lead>\d+)h-oper-fc\.index",
    not_in=has_every_message,
)
