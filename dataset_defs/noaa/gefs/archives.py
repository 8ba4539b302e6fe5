"""Where GEFS files can be had, in the order they are asked for."""

from reformatters_dagster.core.config import STATUS_ANSWERS, SourceArchive

FORECASTS = SourceArchive(url="s3://noaa-gefs-pds", folder="noaa-gefs-pds", region="us-east-1")
REFORECASTS = SourceArchive(
    url="s3://noaa-gefs-retrospective", folder="noaa-gefs-retrospective", region="us-east-1", until="2020-01-01T00"
)
NOMADS = SourceArchive(
    url="https://nomads.ncep.noaa.gov/pub/data/nccf/com/gens/prod",
    folder="nomads.ncep.noaa.gov/pub/data/nccf/com/gens/prod",
    newest="4D",
    requests_per_minute=100,
    # NOMADS redirects who asks too often, and refuses what has aged out.
    answers={**STATUS_ANSWERS, 302: "throttled", 403: "missing"},
)

GEFS_FORECAST_ARCHIVES = (FORECASTS, NOMADS)
GEFS_ANALYSIS_ARCHIVES = (REFORECASTS, *GEFS_FORECAST_ARCHIVES)
