from tests.dataset_defs.facts import Facts, has_every_message, real_indexes

BUCKET = "s3://noaa-hrrr-bdp-pds"


def url(init: str, lead: int) -> str:
    return f"{BUCKET}/hrrr.{init[:8]}/conus/hrrr.t{init[8:]}z.wrfsfcf{lead:02d}.grib2"


FACTS = Facts(
    url=BUCKET + r"/hrrr\.(?P<date>\d{8})/conus/hrrr\.t(?P<hour>\d\d)z\.wrfsfcf(?P<lead>\d\d)\.grib2",
    first=frozenset({(url("2018071312", lead), url("2018071312", 36)) for lead in (0, 1)}),
    newest=frozenset({(url("2026080206", lead), url("2026080206", 48)) for lead in (0, 1)}),
    # As ecCodes gives the first and the last point of a real message.
    corners=((21.138123, -122.719528), (47.842195, -60.917193)),
    region=(0.37, 1),
    indexes=real_indexes("*--hrrr.t00z.wrfsfcf*.grib2.idx"),
    first_is_shorter=True,
    not_in=has_every_message,
    stated_elsewhere=frozenset({"hrrr_file_type", "include_lead_time_suffix"}),
    index_name=r".*wrfsfcf(?P<lead>\d\d)\.grib2\.idx",
)
