"""Breaks that seeds have found: those that are open, and those that were mended.

An open row fails as it says, strictly: whoever mends a break moves its rows to the mended ones, which must hold.
"""

from dataclasses import dataclass

from tests.simulation.faults import Families, only
from tests.simulation.layouts import ANALYSIS, FORECAST, LONG_ANALYSIS, Layout


@dataclass(frozen=True)
class Row:
    """One seed that breaks one promise, or did."""

    what: str
    seed: int
    families: tuple[str, ...]
    """The faults that it is run with; those of the seed where none are named."""
    promise: str
    layout: Layout | None = ANALYSIS
    """None for that of the seed."""

    @property
    def faults(self) -> Families | None:
        return only(*self.families) if self.families else None


_WRITERS = ("late_puts", "stalls", "kills")
_READS = ("late_files", "corrected_files", "unreadable_files")

OF_THE_SEED: tuple[str, ...] = ()

OPEN: tuple[Row, ...] = ()

_LANDS_AGAIN = "a put that was given up and sent again lands once more, after a later run has replaced the object"
_HALF_PUT = "objects of half an upload stay, a file of which has vanished"
_JUDGED = "judged wrongly: "
_LATE_NOTE = "a note that comes late claims shards that another attempt has replaced"
_BEHIND = "a value is replaced by an older one of another archive, and the ledger names the newer"
_UNKNOWN = "one variable has a file from another archive, in a version that nobody knows, and the ledger names that of the other"

MENDED: tuple[Row, ...] = (
    Row("a put that lands after its lease is lost leaves a note", 1, _WRITERS, "nothing is left"),
    Row("a late commit replaces a newer ledger entry", 4, _WRITERS, "ledger never goes back"),
    Row("a file whose neighbour could not be read once is not asked for again", 5, _READS, "ledger is complete"),
    Row("so its value stays NaN", 5, _READS, "store is truth"),
    Row("a corrected file beside a shard does not reach its first rate", 1, _READS, "store is truth"),
    Row(
        "an update by a clock that is behind hides files from the next",
        50,
        ("clock_errors",),
        "everything is published",
    ),
    Row(
        "one lost object and one vanished file stop all publishing",
        10,
        ("lost_objects", "vanished_files"),
        "everything is published",
    ),
    Row(
        "an attempt that stalled commits over a later attempt of the same run",
        374,
        ("kills", "stalls", "index_faults"),
        "ledger never goes back",
    ),
    Row(
        "a replica that the last run left out waits for the next update, which no file calls for",
        372,
        ("kills", "stalls", "expired_credentials", "index_faults"),
        "replicas are equal",
    ),
    Row(
        "a file of a long shard's first labels that came late is not tried, and counts as seen",
        25,
        ("outages", "late_files"),
        "store is truth",
        LONG_ANALYSIS,
    ),
    Row(
        "an object that lands after its process stood still replaces what another run has accounted for",
        190,
        ("stalls", "unreadable_files", "corrected_files", "missing_files", "odd_sensors", "index_faults"),
        "ledger is true",
        LONG_ANALYSIS,
    ),
    Row(
        "one of two objects of a shard has a rate whose earlier file the ledger lacks: it claims none",
        949,
        (
            "lost_answers",
            "late_puts",
            "kills",
            "stalls",
            "source_errors",
            "unreadable_files",
            "lost_objects",
            "store_outages",
            "replica_outages",
            "second_writers",
            "odd_sensors",
            "expired_credentials",
            "throttling",
            "lying_listings",
            "index_faults",
            "other_versions",
        ),
        "ledger is true",
    ),
    Row(
        "an object that lands late puts all files in doubt, one that has vanished among them, and nothing heals any more",
        695,
        (
            "stalls",
            "source_errors",
            "vanished_files",
            "outages",
            "clock_errors",
            "second_archive",
            "index_faults",
        ),
        "store is truth",
    ),
    Row(
        "a rate waits for a file of the shard before that has vanished: it cannot be used",
        897,
        ("kills", "stalls", "source_errors", "vanished_files", "lying_listings"),
        "ledger is complete",
        LONG_ANALYSIS,
    ),
    Row(
        "a rate waits for a neighbour that has vanished: it is tried less and less often",
        682,
        (
            "store_errors",
            "stalls",
            "source_errors",
            "missing_files",
            "vanished_files",
            "outages",
            "store_outages",
            "clock_errors",
            "throttling",
            "lying_listings",
            "other_versions",
        ),
        "launches end",
    ),
    Row(
        "notes are left for as long as the heal that was killed nine times cools down",
        694,
        (
            "lost_answers",
            "kills",
            "unreadable_files",
            "missing_files",
            "second_writers",
            "odd_sensors",
            "index_faults",
            "other_versions",
        ),
        "nothing is left",
        FORECAST,
    ),
    Row(
        "a rate is outdated, and waits for a neighbour whose new index does not fit it: it is tried less and less often",
        1762,
        OF_THE_SEED,
        "launches end",
        LONG_ANALYSIS,
    ),
    Row("the same, found by another seed", 2247, OF_THE_SEED, "launches end", None),
    Row(_LANDS_AGAIN, 2355, OF_THE_SEED, "ledger is true", None),
    Row(_LANDS_AGAIN, 2391, OF_THE_SEED, "ledger is true", None),
    Row(_LANDS_AGAIN, 3438, OF_THE_SEED, "ledger is true", None),
    Row(_HALF_PUT, 2490, OF_THE_SEED, "store is truth", None),
    Row(_HALF_PUT, 2636, OF_THE_SEED, "store is truth", None),
    Row(_HALF_PUT, 2636, OF_THE_SEED, "replicas are equal", None),
    Row(_HALF_PUT, 3558, OF_THE_SEED, "store is truth", None),
    Row(
        "a run that tells of an earlier one's upload counts what is listed as seen: a file that is whole by now is not asked for",
        1919,
        OF_THE_SEED,
        "ledger is complete",
        None,
    ),
    Row("the same holds up the labels after it", 3635, OF_THE_SEED, "everything is published", None),
    Row(
        "a label that a whole upload has put, and no commit told of, holds up the next, as its file has vanished",
        1987,
        OF_THE_SEED,
        "store is truth",
        None,
    ),
    Row("so does the first upload of all", 2873, OF_THE_SEED, "nothing is left", None),
    Row(
        "a value that is outdated counts as lacking once an object has landed late, and cannot be made again",
        1848,
        OF_THE_SEED,
        "nothing is left",
        None,
    ),
    Row("the same, found by another seed", 3183, OF_THE_SEED, "nothing is left", None),
    Row(_JUDGED + "a heal had cooled down until the last hour", 1844, OF_THE_SEED, "launches end", None),
    Row(
        _JUDGED + "a replica's documents were put, and no root shows them yet",
        2331,
        OF_THE_SEED,
        "replicas are equal",
        None,
    ),
    Row(
        _JUDGED + "an object is lost, and the file beside its shard has vanished",
        2549,
        OF_THE_SEED,
        "ledger is complete",
        None,
    ),
    Row(
        _JUDGED + "of two versions of a file that has vanished the older is told",
        3091,
        OF_THE_SEED,
        "store is truth",
        None,
    ),
    Row(_JUDGED + "heals that cooled down took the turns of others", 3145, OF_THE_SEED, "ledger is complete", None),
    Row(_JUDGED + "heals that cooled down took the turns of others", 3146, OF_THE_SEED, "store is truth", None),
    Row(_LATE_NOTE, 4392, OF_THE_SEED, "ledger is true", None),
    Row(_BEHIND, 5171, OF_THE_SEED, "ledger is true", None),
    Row(_BEHIND, 5788, OF_THE_SEED, "ledger is true", None),
    Row(_UNKNOWN, 5665, OF_THE_SEED, "store is truth", None),
    Row(_UNKNOWN, 5686, OF_THE_SEED, "store is truth", None),
    Row(
        "a replica is mended by an update, and none comes while the newest shard waits for a file",
        4161,
        OF_THE_SEED,
        "replicas are equal",
        None,
    ),
    Row(
        "an upload of which no commit told holds up every label after it",
        3532,
        OF_THE_SEED,
        "everything is published",
        None,
    ),
)
