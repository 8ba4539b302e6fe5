"""What every dataset made of ECMWF's open data says of where it comes from."""

from reformatters_dagster import DatasetAttributes


def ecmwf_attributes(**own: str) -> DatasetAttributes:
    """Global attributes of a dataset: those given, and whose data it is."""
    return DatasetAttributes(
        attribution="ECMWF open data, www.ecmwf.int, reformatted; ECMWF accepts no liability for errors or omissions in it.",
        license="CC BY 4.0 (ECMWF open data)",
        **own,
    )
