"""What every dataset made of NCEP's models says of where it comes from."""

from reformatters_dagster import DatasetAttributes


def ncep_attributes(model: str, **own: str) -> DatasetAttributes:
    """Global attributes of a dataset: those given, and whose data it is."""
    return DatasetAttributes(
        attribution=f"NOAA NWS NCEP {model} data, taken from NOAA Open Data Dissemination archives and reformatted.",
        license="Public domain in the United States (NOAA data)",
        **own,
    )
