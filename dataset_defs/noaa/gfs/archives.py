"""Where GFS files can be had, in the order they are asked for."""

from reformatters_dagster.core.config import STATUS_ANSWERS, SourceArchive

GFS_ARCHIVES = (
    SourceArchive(url="s3://noaa-gfs-bdp-pds", folder="noaa-gfs-bdp-pds", region="us-east-1"),
    SourceArchive(
        url="https://nomads.ncep.noaa.gov/pub/data/nccf/com/gfs/prod",
        folder="nomads.ncep.noaa.gov/pub/data/nccf/com/gfs/prod",
        newest="12h",
        requests_per_minute=100,
        # NOMADS redirects who asks too often, and refuses what has aged out.
        answers={**STATUS_ANSWERS, 302: "throttled", 403: "missing"},
    ),
)
