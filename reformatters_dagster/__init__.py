"""Weather-model GRIB2 into analysis-ready Zarr, as a Dagster asset graph."""
