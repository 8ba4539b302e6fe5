from tests.dataset_defs.facts import Facts, real_indexes

BUCKET = "s3://noaa-gfs-bdp-pds"
FIRST, NEWEST = f"{BUCKET}/gfs.20210501/00/atmos/gfs.t00z", f"{BUCKET}/gfs.20260802/06/atmos/gfs.t06z"

FACTS = Facts(
    url=BUCKET + r"/gfs\.(?P<date>\d{8})/(?P<hour>\d\d)/atmos/gfs\.t(?P=hour)z\.pgrb2\.0p25\.f(?P<lead>\d{3})",
    first=frozenset((f"{FIRST}.pgrb2.0p25.f00{lead}", f"{FIRST}.pgrb2.0p25.f384") for lead in (0, 1)),
    newest=frozenset((f"{NEWEST}.pgrb2.0p25.f00{lead}", f"{NEWEST}.pgrb2.0p25.f384") for lead in (0, 1)),
    region=(0.87, 2),
    indexes=real_indexes("*--gfs.t*.pgrb2.0p25.f*.idx"),
)
