"""How files lie in labels and shards: those of two analyses, and of a forecast.

In: the number of a file, in order of label and lead time. Out: its label, its key, when it is due, and which files its rate is
made from.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import pandas as pd

from reformatters_dagster.core.spec.values import Timedelta, Timestamp

START = pd.Timestamp("2026-03-01T00").as_unit("us")
HOUR = 3600.0
WINDOW = 6
"""Hours of one total."""
HOURS = 30
"""How long files become due."""


@dataclass(frozen=True, eq=False)
class Layout:
    """One shape of dataset."""

    name: str
    kind: Literal["analysis", "forecast"]
    step: int
    """Hours between labels."""
    leads: int
    """Files of a label: lead times 0, 1, 2, ... hours."""
    shard: int
    """Files of a shard."""
    chunk: int
    """Files of a chunk."""

    @property
    def append_dim(self) -> str:
        return "time" if self.kind == "analysis" else "init_time"

    @property
    def files(self) -> int:
        """How many there are in a simulation."""
        return HOURS // self.step * self.leads

    @property
    def continues(self) -> bool:
        """Whether a shard is continued from label to label. Another one is made anew as a whole."""
        return self.shard > self.leads

    def label_of(self, file: int) -> Timestamp:
        return _label(self, file // self.leads)

    def first_of(self, shard: int) -> Timestamp:
        """The first label of a shard."""
        return self.label_of(shard * self.shard)

    def file_of(self, label: Timestamp, lead: Timedelta | None = None) -> int:
        """The number of the file of a label and a lead time."""
        return _file(self, label, lead)

    def key_of(self, file: int) -> str:
        """A folder a day, or one an init time, as archives have it."""
        return _key(self, file)

    def due(self, file: int) -> float:
        """Seconds until the model has made a file: lead times follow each other by some minutes."""
        label, lead = divmod(file, self.leads)
        return label * self.step * HOUR + lead * 240.0

    def place_in_window(self, file: int) -> int:
        """1 for the first file of a total, `WINDOW` for the last, which lies at a whole multiple; 0 for one without total."""
        hours = file if self.kind == "analysis" else file % self.leads
        return 0 if self.kind == "forecast" and hours == 0 else (hours - 1) % WINDOW + 1

    def has_rate(self, file: int) -> bool:
        """Whether a rate ends at a file: none does where the archive starts, nor at lead time 0."""
        return file > 0 and self.place_in_window(file) > 0

    def before(self, file: int) -> int | None:
        """The file whose total a rate is made from as well; None where the total has just begun."""
        return file - 1 if self.place_in_window(file) > 1 else None


ANALYSIS = Layout("analysis", "analysis", step=1, leads=1, shard=12, chunk=6)
"""Many labels a shard."""
LONG_ANALYSIS = Layout("long-analysis", "analysis", step=1, leads=1, shard=24, chunk=6)
"""A shard takes longer than the shorter give-up age: its first labels are past it while the last ones are made."""
FORECAST = Layout("forecast", "forecast", step=3, leads=8, shard=8, chunk=4)
"""One label a shard."""
LAYOUTS = {layout.name: layout for layout in (ANALYSIS, LONG_ANALYSIS, FORECAST)}


@cache
def _label(layout: Layout, number: int) -> Timestamp:
    return START + number * pd.Timedelta(hours=layout.step)


@cache
def _file(layout: Layout, label: Timestamp, lead: Timedelta | None) -> int:
    hours = 0 if lead is None else int(lead // pd.Timedelta(hours=1))
    return int((label - START) // pd.Timedelta(hours=layout.step)) * layout.leads + hours


@cache
def _key(layout: Layout, file: int) -> str:
    label, lead = layout.label_of(file), file % layout.leads
    return f"{label:%Y%m%d}/{label:%H}.simu" if layout.leads == 1 else f"{label:%Y%m%d%H}/f{lead:03d}.simu"
