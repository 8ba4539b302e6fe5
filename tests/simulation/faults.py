"""What may go wrong, as data: families of faults, and the faults of one request.

In: a seed, the name of a process, the number of its request. Out: how long the request takes, and what goes wrong with it.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Literal

from tests.simulation.chance import chance, lot
from tests.simulation.scheduler import Process

type Kind = Literal["put", "put if", "get", "list", "head", "delete", "source", "listing"]
type Wrong = Literal[
    "refused",
    "lost answer",
    "late",
    "kill",
    "stall",
    "denied",
    "conflict",
    "conflict that landed",
    "throttled",
]


@dataclass(frozen=True)
class Families:
    """How often what goes wrong. A seed has some of them."""

    store_errors: float = 0.0
    """A request to a store fails, and nothing happened."""
    lost_answers: float = 0.0
    """A put is carried out, and its answer is lost."""
    late_puts: float = 0.0
    """A put fails for its client, and lands minutes later."""
    kills: float = 0.0
    """The process ends at a request."""
    stalls: float = 0.0
    """The process stands still at a request, longer than a lease lives."""
    source_errors: float = 0.0
    """A request to an archive fails."""
    unreadable_files: float = 0.0
    """A process cannot read a file, however often it asks."""
    late_files: float = 0.0
    corrected_files: float = 0.0
    corrupt_files: float = 0.0
    missing_files: float = 0.0
    vanished_files: float = 0.0
    """A file is taken back some time after it was published."""
    lost_objects: float = 0.0
    """A shard object of the store vanishes."""
    outages: float = 0.0
    """The archive answers nothing for hours."""
    store_outages: float = 0.0
    replica_outages: float = 0.0
    clock_errors: float = 0.0
    """Processes whose clocks are minutes to days off."""
    second_writers: float = 0.0
    """Somebody runs an update or a backfill by hand."""
    odd_sensors: float = 0.0
    """A sensor ticks twice, or not at all for hours."""
    expired_credentials: float = 0.0
    """The credentials that a process has read are refused from a request on, until it reads them again."""
    conflicts: float = 0.0
    """A conditional put is answered with 409; half of these landed."""
    no_conditions: float = 0.0
    """Stores do not know conditional puts; a switch of a whole seed."""
    throttling: float = 0.0
    """An archive answers that it is asked too often."""
    lying_listings: float = 0.0
    """A listing leaves a file out, or has one that was taken back."""
    second_archive: float = 0.0
    """Another archive has each file too, some time later; a switch of a whole seed."""
    index_faults: float = 0.0
    """An index comes long before its file, long after it, or for another version of it."""
    other_versions: float = 0.0
    """What a run of a newer version, or of an older one, has noted is found by this one."""


RATES = Families(
    store_errors=0.01,
    lost_answers=0.01,
    late_puts=0.004,
    kills=0.004,
    stalls=0.003,
    source_errors=0.03,
    unreadable_files=0.04,
    late_files=0.15,
    corrected_files=0.12,
    corrupt_files=0.08,
    missing_files=0.04,
    vanished_files=0.08,
    lost_objects=0.5,
    outages=0.5,
    store_outages=0.5,
    replica_outages=0.5,
    clock_errors=0.1,
    second_writers=0.5,
    odd_sensors=0.5,
    expired_credentials=0.01,
    conflicts=0.03,
    no_conditions=1.0,
    throttling=0.03,
    lying_listings=0.05,
    second_archive=1.0,
    index_faults=0.15,
    other_versions=0.7,
)
"""When a family is on."""

ALONE = ("no_conditions",)
"""Families that no seed mixes with others: without conditions two writers may slip through, as the store's log says."""

NAMES = tuple(one.name for one in fields(Families))


def only(*names: str) -> Families:
    """These families at their rates, and no others."""
    return Families(**{name: getattr(RATES, name) for name in names})


def families_of(seed: int) -> Families:
    """Those of a seed: some of them, each at its rate."""
    rng = chance(seed, "families")
    share = rng.choice((0.15, 0.3, 0.5))
    chosen = {name: rng.random() < share for name in NAMES}
    return only(*(name for name in NAMES if chosen[name] and name not in ALONE))


@dataclass(frozen=True)
class Step:
    """One request: how long it takes, and what goes wrong."""

    seconds: float
    wrong: Wrong | None = None
    later: float = 0.0
    """Seconds until a late put lands, or a process goes on."""


class Faults:
    """The faults of every request of a simulation.

    Parameters
    ----------
    left_out : collection of str
        Faults that do not happen, by the names that `happened` gives them.
    """

    def __init__(self, seed: int, families: Families, left_out: Collection[str] = ()) -> None:
        self.families = families
        self.calm = False
        """Once it is set, nothing goes wrong any more."""
        self.happened: dict[str, None] = {}
        self.counted = Counter[str]()
        """What happens too often to be told one by one, or is no fault."""
        self.on_stall: Callable[[str, float], None] = lambda process, seconds: None
        """Told of a process that stands still, and for how many seconds."""
        self._seed = seed
        self._left_out = frozenset(left_out)
        self._rows: dict[Kind, list[tuple[float, Wrong]]] = {}

    def occurs(self, name: str) -> bool:
        """Note that a fault is about to happen; whether it does."""
        if name in self._left_out:
            return False
        self.happened[name] = None
        return True

    def step(self, process: str, number: int, kind: Kind, key: str) -> Step:
        """What becomes of one request."""
        rng = chance(self._seed, process, number)
        seconds = rng.choice((0.01, 0.05, 0.2, 1.0))
        if self.calm:
            return Step(seconds)
        wrong = self._wrong(rng.random(), kind)
        if wrong is None or not self.occurs(f"{process}#{number} {wrong}: {kind} {key}"):
            return Step(seconds)
        return Step(seconds, wrong, rng.choice((20.0, 70.0, 130.0, 400.0, 1500.0)))

    def cannot_read(self, process: str, key: str) -> bool:
        """Whether a process cannot read a file."""
        if self.calm or not self.families.unreadable_files:
            return False
        drawn = chance(self._seed, process, "reads", key).random()
        return drawn < self.families.unreadable_files and self.occurs(f"{process} cannot read {key}")

    def lies_about(self, process: Process, key: str) -> bool:
        """Whether a listing that a process has just asked for says the opposite of what is there."""
        return (
            not self.calm
            and lot(self._seed, process.name, process.steps, "lies", key) < self.families.lying_listings
            and self.occurs(f"{process.name}#{process.steps} is told a lie about {key}")
        )

    def _wrong(self, drawn: float, kind: Kind) -> Wrong | None:
        if kind not in self._rows:
            self._rows[kind] = self._rows_of(kind)
        for rate, wrong in self._rows[kind]:
            if drawn < rate:
                return wrong
            drawn -= rate
        return None

    def _rows_of(self, kind: Kind) -> list[tuple[float, Wrong]]:
        """How often what goes wrong with a request."""
        families = self.families
        rows: list[tuple[float, Wrong]] = [(families.kills, "kill"), (families.stalls, "stall")]
        if kind in {"source", "listing"}:
            rows += [(families.source_errors, "refused"), (families.throttling, "throttled")]
        else:
            rows.append((families.store_errors, "refused"))
        if kind in {"put", "put if"}:
            rows += [(families.lost_answers, "lost answer"), (families.late_puts, "late")]
        if kind == "put if":
            rows += [(families.conflicts / 2, "conflict"), (families.conflicts / 2, "conflict that landed")]
        if kind not in {"source", "listing"}:
            rows.append((families.expired_credentials, "denied"))
        return [row for row in rows if row[0]]
