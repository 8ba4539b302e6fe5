"""What a person found out about each dataset's source, beside which the contract holds the dataset's code.

One module per dataset, named after its id, with `FACTS`; a dataset without one fails the contract.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from re import Match
from typing import Any

from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.source.files import SourceFileCoord
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar

EVER, LONG = Timestamp("1970-01-01"), Timestamp("2039-12-01")

type Indexes = Callable[[Path], Mapping[str, str]]
"""Texts of indexes by file name, as the archive names them, given the folder of real files."""


def real_indexes(pattern: str) -> Indexes:
    """Those among the real files, and in the folder `indexes` beside this module, whose name matches a glob."""

    def read(shared_data: Path) -> dict[str, str]:
        folders = (shared_data / "idx_only", Path(__file__).with_name("indexes"))
        return {path.name: path.read_text() for folder in folders for path in sorted(folder.glob(pattern))}

    return read


def by_init_and_lead(init_time: Timestamp, name: Match[str]) -> dict[str, Any]:
    return {"init_time": init_time, "lead_time": Timedelta(hours=int(name["lead"]))}


def has_no_window_yet(coord: SourceFileCoord, data_var: DataVar) -> bool:
    """Lead time 0 of a variable that needs a window."""
    return getattr(coord, "lead_time", None) == Timedelta(0) and not data_var.has_hour_0


def has_every_message(coord: SourceFileCoord, data_var: DataVar) -> bool:
    """No file lacks a variable, even where what is in it is not used."""
    return False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts about one dataset's source, for a `now` of 2026-08-02T09:30."""

    url: str
    """Pattern of every URL. Its groups `date` (YYYYMMDD), `hour`, `lead` (hours), `member` are compared with the coord."""
    first: frozenset[tuple[str, str]]
    """Of each group of variables, the first and the last URL that the first label of the archive wants."""
    newest: frozenset[tuple[str, str]]
    """The same of the newest label."""
    first_is_shorter: bool = False
    """Whether the archive's first forecasts end earlier than those of today."""
    begins: Timestamp = EVER
    """The first label that has a file, where the archive's first has none."""
    one_object_until: Timestamp = LONG
    """How long the append dimension's coordinates stay one object, where the catalogue's chunk ends before `LONG`."""
    region: tuple[float, int]
    """Gigabytes of one variable of one shard along the append dimension, in float32, and the objects it is stored in."""
    indexes: Indexes | None = None
    """Real indexes, or a sample where there are none; None for a source without."""
    index_name: str = r".*f(?P<lead>\d{3})\.idx"
    """Pattern of an index's file name."""
    coord_of: Callable[[Timestamp, Match[str]], dict[str, Any]] = by_init_and_lead
    """Fields of the coord of the file beside an index, from the time in the index and the match of its name."""
    not_in: Callable[[SourceFileCoord, DataVar], bool] = has_no_window_yet
    """Whether the file of a coord is known to lack a variable."""
    made_up: bool = False
    """Whether the dataset is still what it was copied from: the catalogue of public datasets does not hold for it yet, and texts
    of the example may stand in it."""
    corners: tuple[tuple[float, float], tuple[float, float]] | None = None
    """Of a projected grid, latitude and longitude of the south-west and the north-east corner, as the source gives them."""
    stated_elsewhere: frozenset[str] = field(default_factory=frozenset)
    """What the catalogue says of a variable's source that other tests of the dataset hold it to."""


def facts_of(dataset: DynamicalDataset) -> Facts:
    name = f"{__name__}.{dataset.dataset_id.replace('-', '_')}"
    assert find_spec(name), f"write {name}: the facts about {dataset.dataset_id} that the contract asks for"
    found: Facts = import_module(name).FACTS
    return found
