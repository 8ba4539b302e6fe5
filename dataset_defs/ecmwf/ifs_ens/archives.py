"""Where ECMWF's open data can be had, in the order the clouds are asked; both lay it out alike and keep it for good."""

from reformatters_dagster.core.spec.sources import SourceArchive

GOOGLE = SourceArchive(url="gs://ecmwf-open-data", folder="ecmwf-open-data")
AMAZON = SourceArchive(url="s3://ecmwf-forecasts", folder="ecmwf-forecasts", region="eu-central-1")

ECMWF_ARCHIVES = (GOOGLE, AMAZON)
