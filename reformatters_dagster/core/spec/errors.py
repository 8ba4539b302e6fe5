"""Everything this project raises on purpose.

A child of `Refused` means that the request cannot be served as things stand; the command line exits with 2. Most are raised
before anything is written. Those that end a commit, or a run that has lost its lease, come after shards were put, and
`OutcomeOvertaken` may come after metadata. Any other `ReformatError` means the work was tried and failed; the command line exits
with 1.
"""


class ReformatError(Exception):
    """Root of the errors a caller of this project may want to catch."""


class Refused(ReformatError):
    """The request itself cannot be served as it stands."""


class UnknownDataset(Refused, LookupError):
    """No dataset of that id is registered."""


class UnusableName(Refused, ValueError):
    """A word that cannot be part of a dataset's name."""


class DatasetExists(Refused, FileExistsError):
    """A new dataset would replace a dataset, or a file of one."""


class NotACheckout(Refused, FileNotFoundError):
    """The code runs without files that only a checkout of the project holds."""


class UnknownVariable(Refused, LookupError):
    """A variable was asked for that the template does not have."""


class VariableNotPublished(Refused, LookupError):
    """Data of a variable for which the store has no array: no reader would see it."""


class TimeNotOnGrid(Refused, ValueError):
    """A time was given that is no label of the append dimension."""


class EmptyHistory(Refused, ValueError):
    """A new store would begin with labels that nobody has asked for, and that would read as missing data."""


class NoPartition(Refused, LookupError):
    """A choice of times that holds no partition."""


class UnknownRun(Refused, LookupError):
    """A run that should be resumed has left nothing, or never was."""


class UnalignedRegion(Refused, ValueError):
    """A region that is not exactly one whole shard along the append dimension."""


class TemplateDrift(Refused, ValueError):
    """Template, code and store do not describe the same structure."""


class CorruptRoot(TemplateDrift):
    """The root of a store holds no metadata that readers can open."""


class StoreExists(Refused, FileExistsError):
    """A store stands where one should be created."""


class StoreMissing(Refused, FileNotFoundError):
    """No store stands where one should be opened."""


class StoreTooShort(Refused, ValueError):
    """The store's append dimension does not reach the region asked for."""


class BeyondExtent(StoreTooShort):
    """A backfill of labels that the store's metadata does not reach."""


class Retraction(Refused, ValueError):
    """Metadata that would withdraw labels that readers already see."""


class PublishGap(Refused, ValueError):
    """An update that would leave an unwritten shard inside the published extent."""


class LeaseHeld(Refused, RuntimeError):
    """Another run is writing the same partition; it may have taken over one that this run has begun to write."""


class LandedLate(LeaseHeld):
    """An object was put by a run that stood still meanwhile, and lost the right to write it: another run's may be gone."""


class UpstreamMissing(Refused, FileNotFoundError):
    """The whole upstream is absent, not only a file of it."""


class NothingSucceeded(ReformatError, RuntimeError):
    """No source file of a run could be used, or the archive's first label lacks variables; nothing was published.

    It is awaited where every file that failed is missing: the upstream answers, and may have them later.
    """

    def __init__(self, message: str, *, awaited: bool = False) -> None:
        super().__init__(message)
        self.awaited = awaited


class SourceFileMissing(ReformatError, FileNotFoundError):
    """The upstream answers, and the file is not there (yet)."""


class SourceFileUnavailable(ReformatError, ConnectionError):
    """The upstream did not hand the file over: it throttled, refused, or cut the connection."""


class CorruptShard(ReformatError, ValueError):
    """A published shard that cannot be read back."""


class CorruptMessage(ReformatError, ValueError):
    """Bytes that are not the GRIB message asked for."""


class SecondDecoderMissing(ReformatError, ImportError):
    """The decoder that published values are compared by cannot be loaded."""


class IndexMismatch(CorruptMessage):
    """An index that does not describe the file beside it, or lacks a wanted message.

    >>> raise IndexMismatch("f006.idx does not have TMP:2 m above ground; has the source renamed it?")
    Traceback (most recent call last):
    reformatters_dagster.core.spec.errors.IndexMismatch: f006.idx does not have TMP:2 m above ground; has the source renamed it?
    """


class LedgerUnreadable(ReformatError, ValueError):
    """An object in the place of a ledger entry is no ledger entry."""


class ImplausibleRate(ReformatError, ValueError):
    """Deaccumulation gave more negative rates than packing noise explains."""


class StoreUnavailable(ReformatError, ConnectionError):
    """The object store could not be read or written. That does not mean that the object is absent."""


class StoreAccessDenied(StoreUnavailable, PermissionError):
    """The object store refused the credentials, or had none to check."""


class ObjectMoved(ReformatError, RuntimeError):
    """A conditional put found another version of the object than expected."""


class ShardIncomplete(ReformatError, RuntimeError):
    """Not every object of a shard was written locally; none was uploaded."""


class CommitConflict(ReformatError, RuntimeError):
    """Another writer changed the store's metadata while this run put its own."""


class OutcomeMissing(ReformatError, RuntimeError):
    """Not every variable of the plan was processed before the commit; nothing was published."""


class PlanOutdated(Refused, RuntimeError):
    """More labels were published since the plan was made than it knows of; nothing was written."""


class OutcomeOvertaken(Refused, RuntimeError):
    """Another run may have replaced the shards before this run committed them; the ledger does not tell of this run's."""


class RunStopped(ReformatError, RuntimeError):
    """The run was stopped before this was done."""


class TmpDiskFull(ReformatError, OSError):
    """The disk of the tmp folder is full."""


class EncodingFailed(ReformatError, RuntimeError):
    """The encoder of the sample upstream could not make a message."""
