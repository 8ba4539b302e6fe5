"""How files of the IFS ensemble are named, and whose messages they hold."""

import pandas as pd

from dataset_defs.ecmwf.archives import GOOGLE, open_data_key
from reformatters_dagster import EnsembleFileCoord

CONTROL = 0
CONTROL_APART = pd.Timestamp("2026-05-12T06").as_unit("us")
"""From this init time on (cycle 50r1) the control run is the single forecast, in files of its own."""


class IfsEnsFileCoord(EnsembleFileCoord):
    """One member at one lead time; all but the later control runs share a file."""

    @property
    def is_single(self) -> bool:
        """Whether it is the single forecast, which is no part of the ensemble's files."""
        return self.ensemble_member == CONTROL and self.init_time >= CONTROL_APART

    def key(self) -> str:
        stream, kind = ("oper", "oper-fc") if self.is_single else ("enfo", "enfo-ef")
        return open_data_key(self.init_time, self.lead_time, folder=f"ifs/0p25/{stream}", kind=kind)

    def get_url(self) -> str:
        return f"{GOOGLE.url}/{self.key()}"
