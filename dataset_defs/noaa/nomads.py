"""NOMADS: NCEP's own server, which has a file first and keeps it for days."""

from reformatters_dagster import STATUS_ANSWERS, SourceArchive


def nomads(product: str, newest: str) -> SourceArchive:
    """One product's folder.

    Parameters
    ----------
    product : str
        Such as `gfs`, below `pub/data/nccf/com`.
    newest : str
        How long files are kept after their init time, as a duration.
    """
    path = f"nomads.ncep.noaa.gov/pub/data/nccf/com/{product}/prod"
    return SourceArchive.model_validate(
        {
            "url": f"https://{path}",
            "folder": path,
            "newest": newest,
            "requests_per_minute": 100,
            # NOMADS redirects who asks too often, and refuses what has aged out.
            "answers": {**STATUS_ANSWERS, 302: "throttled", 403: "missing"},
        }
    )
