from tests.dataset_defs.facts import Facts, real_indexes

BUCKET = "s3://noaa-gfs-bdp-pds"
INSTANT = f"{BUCKET}/gfs.20210501/00/atmos/gfs.t00z.pgrb2.0p25.f000"
WINDOWED = f"{BUCKET}/gfs.20210430/18/atmos/gfs.t18z.pgrb2.0p25.f006"
# The newest shard began on 2026-06-04T00; the newest label is 9 UTC of the second of August.
NEWEST = f"{BUCKET}/gfs.20260802/06/atmos/gfs.t06z.pgrb2.0p25.f003"

FACTS = Facts(
    url=BUCKET + r"/gfs\.(?P<date>\d{8})/(?P<hour>\d\d)/atmos/gfs\.t(?P=hour)z\.pgrb2\.0p25\.f(?P<lead>00[0-6])",
    first=frozenset({(INSTANT, INSTANT), (WINDOWED, WINDOWED)}),
    newest=frozenset(
        {
            (f"{BUCKET}/gfs.20260604/00/atmos/gfs.t00z.pgrb2.0p25.f000", NEWEST),
            (f"{BUCKET}/gfs.20260603/18/atmos/gfs.t18z.pgrb2.0p25.f006", NEWEST),
        }
    ),
    region=(5.98, 8),
    indexes=real_indexes("*--gfs.t*.pgrb2.0p25.f*.idx"),
)
