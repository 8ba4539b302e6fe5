"""Where GEFS files can be had, in the order they are asked for."""

from dataset_defs.noaa.nomads import nomads
from reformatters_dagster import SourceArchive

FORECASTS = SourceArchive(url="s3://noaa-gefs-pds", folder="noaa-gefs-pds", region="us-east-1")
REFORECASTS = SourceArchive(
    url="s3://noaa-gefs-retrospective", folder="noaa-gefs-retrospective", region="us-east-1", until="2020-01-01T00"
)
NOMADS = nomads("gens", newest="4D")

GEFS_FORECAST_ARCHIVES = (FORECASTS, NOMADS)
GEFS_ANALYSIS_ARCHIVES = (REFORECASTS, *GEFS_FORECAST_ARCHIVES)
