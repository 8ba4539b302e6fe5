"""Everything this project raises on purpose.

A child of `Refused` means nothing was written and nothing will be until the request changes; the command line exits with 2.
Any other `ReformatError` means the work was tried and failed; the command line exits with 1.
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
    """A dataset was to be made where one, or a file of one, is."""


class NotACheckout(Refused, FileNotFoundError):
    """The code is there without what only a checkout of the project holds."""


class UnknownVariable(Refused, LookupError):
    """A variable was asked for that the template does not have."""


class VariableNotPublished(Refused, LookupError):
    """Data of a variable that the store's metadata does not have: no reader would see it."""


class TimeNotOnGrid(Refused, ValueError):
    """A time was given that is no label of the append dimension."""


class NoPartition(Refused, LookupError):
    """A choice of times that holds no partition."""


class UnknownRun(Refused, LookupError):
    """A run was to be gone on with that has left nothing, or never was."""


class UnalignedRegion(Refused, ValueError):
    """A region that is not exactly one whole shard along the append dimension."""


class TemplateDrift(Refused, ValueError):
    """Template, code and store do not describe the same structure."""


class CorruptRoot(TemplateDrift):
    """The root of a store is no metadata that readers can open."""


class StoreExists(Refused, FileExistsError):
    """A store stands where one was to be created."""


class StoreMissing(Refused, FileNotFoundError):
    """No store stands where one was to be opened."""


class StoreTooShort(Refused, ValueError):
    """The store's append dimension does not reach the region asked for."""


class Retraction(Refused, ValueError):
    """Metadata that would un-publish what readers already see."""


class PublishGap(Refused, ValueError):
    """An update that would leave an unwritten shard inside the published extent."""


class LeaseHeld(Refused, RuntimeError):
    """Another run is writing the same partition."""


class UpstreamMissing(Refused, FileNotFoundError):
    """The upstream itself, not a file of it, is not there."""


class NothingSucceeded(ReformatError, RuntimeError):
    """No source file of a whole run could be used; nothing was published."""


class SourceFileMissing(ReformatError, FileNotFoundError):
    """The upstream answers, and the file is not there (yet)."""


class SourceFileUnavailable(ReformatError, ConnectionError):
    """The upstream would not hand the file over: throttled, refused, cut off."""


class CorruptShard(ReformatError, ValueError):
    """A published shard that cannot be read back."""


class CorruptMessage(ReformatError, ValueError):
    """Bytes that are not the GRIB message that was asked for."""


class IndexMismatch(CorruptMessage):
    """An index that does not describe the file beside it, or lacks a wanted message."""


class LedgerUnreadable(ReformatError, ValueError):
    """An object lies where a ledger entry should, and is none."""


class ImplausibleRate(ReformatError, ValueError):
    """Deaccumulation gave more negative rates than packing noise explains."""


class StoreUnavailable(ReformatError, ConnectionError):
    """The object store could not be read or written; it is not thereby absent."""


class StoreAccessDenied(StoreUnavailable, PermissionError):
    """The object store refused the credentials, or had none to check."""


class ObjectMoved(ReformatError, RuntimeError):
    """A conditional put found another version of the object than it was told to expect."""


class ShardIncomplete(ReformatError, RuntimeError):
    """Not every object of a shard was written locally; none was uploaded."""


class CommitConflict(ReformatError, RuntimeError):
    """Another writer moved the store's metadata while this one was committing."""


class OutcomeMissing(ReformatError, RuntimeError):
    """A commit was asked for before every variable of its plan was processed; nothing was published."""


class PlanOutdated(Refused, RuntimeError):
    """A plan of fewer labels than have been published since it was made; nothing was written."""


class OutcomeOvertaken(Refused, RuntimeError):
    """A commit was asked for of shards that another run may have written over since; nothing was published."""


class RunStopped(ReformatError, RuntimeError):
    """The run was told to end before this was done."""


class TmpDiskFull(ReformatError, OSError):
    """The tmp folder has, or ran, out of space."""


class EncodingFailed(ReformatError, RuntimeError):
    """The encoder of the sample upstream could not make a message."""
