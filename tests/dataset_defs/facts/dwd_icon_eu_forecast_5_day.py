from tests.dataset_defs.facts import Facts

ARCHIVE = "s3://us-west-2.opendata.source.coop/dynamical/dwd-icon-grib/icon-eu/regular-lat-lon"
NAME = "icon-eu_europe_regular-lat-lon_single-level"
ELEMENTS = (
    *("t_2m", "td_2m", "relhum_2m", "u_10m", "v_10m", "vmax_10m", "ps", "pmsl", "tot_prec", "tqv"),
    *("clct", "clcl", "clcm", "clch", "cape_con", "aswdir_s", "aswdifd_s", "h_snow", "w_snow"),
)


def first_and_last(init: str, stamp: str) -> frozenset[tuple[str, str]]:
    folder = f"{ARCHIVE}/{init}"
    return frozenset(
        (
            f"{folder}/{element}/{NAME}_{stamp}_000_{element.upper()}.grib2.bz2",
            f"{folder}/{element}/{NAME}_{stamp}_120_{element.upper()}.grib2.bz2",
        )
        for element in ELEMENTS
    )


FACTS = Facts(
    url=ARCHIVE
    + r"/\d{4}-\d\d-\d\dT\d\d/(?P<element>[a-z0-9_]+)/"
    + NAME
    + r"_(?P<date>\d{8})(?P<hour>\d\d)_(?P<lead>\d{3})_[A-Z0-9_]+\.grib2\.bz2",
    first=first_and_last("2026-02-10T00", "2026021000"),
    newest=first_and_last("2026-08-02T06", "2026080206"),
    region=(0.337, 1),
    stated_elsewhere=frozenset({"variable_name_in_filename"}),
)
