from dataclasses import replace

from reformatters_dagster.core.spec.values import Timestamp
from tests.dataset_defs.facts.noaa_gefs_analysis import FORECASTS, GEFS, current

INIT, NEWEST = "20201001/00", "20260802/00"


def edges(init: str, last: int) -> frozenset[tuple[str, str]]:
    """First and last file of each group: of the control at the first lead time, of member 30 at the last."""
    kinds = [("s", "a", 0), ("s", "a", 3), ("s", "b", 0), ("b", "b", 0), ("a", "a", 0)]
    return frozenset((current(init, first, lead), current(init, then, last, "p30")) for first, then, lead in kinds)


FACTS = replace(
    GEFS,
    url=(
        rf"{FORECASTS}/gefs\.(?P<date>\d{{8}})/(?P<hour>00)/atmos/pgrb2(?P<product>[sab])p2?5"
        r"/ge[cp](?P<ensemble_member>\d\d)\.t00z\.pgrb2(?P=product)\.0p(?:25|50)\.f(?P<lead>\d{3})"
    ),
    first=edges(INIT, 840),
    # Lead times beyond 384 h of that day are due on the next.
    newest=edges(NEWEST, 384),
    region=(23.3, 8),
    one_object_until=Timestamp("2035-09-01"),
)
