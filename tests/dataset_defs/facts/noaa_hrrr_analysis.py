from tests.dataset_defs.facts import Facts, has_every_message, real_indexes

BUCKET = "s3://noaa-hrrr-bdp-pds"


def url(init: str, lead: int) -> str:
    return f"{BUCKET}/hrrr.{init[:8]}/conus/hrrr.t{init[8:]}z.wrfsfcf{lead:02d}.grib2"


# The newest shard began on 2026-07-30T00, 48 shards of 90 days after the first.
FACTS = Facts(
    url=BUCKET + r"/hrrr\.(?P<date>\d{8})/conus/hrrr\.t(?P<hour>\d\d)z\.wrfsfcf(?P<lead>0[01])\.grib2",
    first=frozenset({(url("2014100100", 0), url("2014100100", 0)), (url("2014093023", 1), url("2014093023", 1))}),
    newest=frozenset({(url("2026073000", 0), url("2026080209", 0)), (url("2026072923", 1), url("2026080208", 1))}),
    # As ecCodes gives the first and the last point of a real message.
    corners=((21.138123, -122.719528), (47.842195, -60.917193)),
    region=(16.46, 8),
    indexes=real_indexes("*--hrrr.t00z.wrfsfcf00.grib2.idx"),
    not_in=has_every_message,
    # Of snowfall the catalogue says what the source's window is; in an analysis it is always its first hour.
    # tests/dataset_defs/noaa/test_hrrr.py: what an analysis takes of hour 1
    stated_elsewhere=frozenset(
        {"hrrr_file_type", "include_lead_time_suffix", "window_reset_frequency", "hour_0_values_override"}
    ),
    index_name=r".*wrfsfcf(?P<lead>\d\d)\.grib2\.idx",
)
