"""Which variables of a partition a run has uploaded, or has begun to, since the ledger was written.

In: results of a variable, before and after its shards are uploaded. Out: which variables a retried run need not repeat, and
about which variables no run may trust the ledger.
"""

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from reformatters_dagster.core.ledger.lease import leased_partitions
from reformatters_dagster.core.source.files import FileResult, SourceFileCoord, dump_result, load_result
from reformatters_dagster.core.spec.errors import ObjectMoved, OutcomeOvertaken
from reformatters_dagster.core.store.location import Etag, Expected, Store

if TYPE_CHECKING:
    from reformatters_dagster.core.spec.values import JSON

log = logging.getLogger(__name__)

FOLDER = "progress"


class Outdated(NamedTuple):
    """Why a value is outdated."""

    waits_for: str
    """Key of the file that failed when it was to be made again."""
    reason: str


@dataclass(frozen=True)
class Upload:
    """The last upload of a variable that no ledger entry tells of."""

    root_run: str
    finished: bool
    results: Sequence[FileResult]
    """What its shards are made from, once it is finished. Before that, shards of an earlier upload may still be in place."""
    doubtful: frozenset[str] = frozenset()
    """Keys of files that an earlier upload may lack whose shards may still be in place; empty once this one is finished."""
    left_outdated: Mapping[str, Outdated] = field(default_factory=dict)
    """By key of the file at whose place it is: values that such an upload may have left outdated. The shards hold a value there
    all the same."""
    left_settled: frozenset[str] = frozenset()
    """Keys of files that the shards of such an upload hold for certain, and those of this one hold in the same version."""
    goes_on: bool = False
    """Whether it was begun over an upload of another run: that one may have read some of its files, of what was listed then."""
    readable: bool = True
    """Whether the note of it could be read. If not, nothing is known of the shards."""
    implausible: str = ""
    """Why rates of its shards cannot be right, as in `VariableCoverage`."""
    is_late: bool = False
    """Whether an object of it landed after another run may have replaced it: what it holds may be older than the ledger says."""
    version: Etag = field(default="", compare=False)
    """Of the note, as it was read."""

    @property
    def used(self) -> frozenset[str]:
        """Keys of the files that its shards are made from, beside the region too."""
        own = frozenset(file.coord.key() for file in self.results if file.succeeded)
        return own.union(*(file.beside for file in self.results))

    @property
    def lacking(self) -> frozenset[str]:
        """Keys of the files that the shards may lack."""
        return self.doubtful | {file.coord.key() for file in self.results if not file.succeeded}

    @property
    def outdated(self) -> dict[str, Outdated]:
        """Values that the shards hold and that may be outdated, by the key of the file at whose place they are."""
        own = {
            file.coord.key(): Outdated(file.waits_for, file.reason or "")
            for file in self.results
            if file.is_outdated and file.waits_for is not None
        }
        return {key: why for key, why in {**self.left_outdated, **own}.items() if key not in self.lacking}

    @property
    def settled(self) -> frozenset[str]:
        """Keys of the files that the shards hold for certain, whatever the ledger tells, and whichever upload is in place."""
        return (self.used if self.finished else self.left_settled) - self.lacking

    def older(self, etags: Mapping[str, str]) -> frozenset[str]:
        """Keys of files of which the shards may hold another version than the one told; empty unless an object landed late.

        Parameters
        ----------
        etags : mapping of key to ETag
            The versions that are told. One that is empty or missing is unknown, and taken for another.
        """
        if not self.is_late:
            return frozenset()
        used = ((file.coord.key(), file.etag) for file in self.results if file.succeeded)
        return frozenset(key for key, etag in used if not etag or etag != etags.get(key))


def unfinished_runs(store: Store) -> list[str]:
    """Root runs that have uploaded variables, or begun to, which nobody has committed yet. They may still be at work."""
    found = [store.get_or_none(key) for key, _ in store.list(FOLDER)]
    return sorted({root for one in found if one is not None and (root := _root_run_of(one[0]))})


def noted_partitions(store: Store) -> set[str]:
    """Partitions of which some upload is noted that no commit has accounted for."""
    return {key.split("/")[-2] for key, _ in store.list(FOLDER)}


def abandoned_partitions(store: Store) -> frozenset[str]:
    """Partitions of which some upload is noted, and on which nobody holds a lease: no commit will account for it."""
    # Before and after: a run may begin meanwhile, or end.
    leased = leased_partitions(store)
    noted = noted_partitions(store) - leased
    return frozenset(noted - leased_partitions(store) if noted else noted)


def noted_uploads(store: Store, partition: str) -> list[tuple[str, int]]:
    """Key and size of each note of a partition."""
    return store.list(f"{FOLDER}/{partition}")


def _etags(files: Iterable[FileResult]) -> dict[str, str]:
    """The versions of the files that were used, by key; empty for one that is unknown."""
    return {file.coord.key(): file.etag or "" for file in files if file.succeeded}


def _variable_of(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")


def _root_run_of(data: bytes) -> str:
    """The root run that a note names; empty when the note cannot be read."""
    try:
        return str(json.loads(data)["root_run"])
    except (ValueError, TypeError, KeyError):
        return ""


class UpdateProgressTracker:
    """Notes about one partition in the dataset's internal location, an object for each variable.

    A variable is finished when all its shards are in every store. Its results are kept in the note, since the commit needs
    those of every variable. When a run ends before its commit, its notes tell other runs what the ledger does not.

    A note replaces the one that was taken into account, and no other. So one whose process stood still, or whose request is
    carried out late, cannot claim shards that another run has replaced meanwhile.

    Parameters
    ----------
    store : Store
        The dataset's internal location.
    root_run : str
        The first of a chain of retries.
    coord : type of SourceFileCoord
        Of the results.
    """

    def __init__(self, store: Store, partition: str, root_run: str, coord: type[SourceFileCoord]) -> None:
        self._store = store
        self._prefix = f"{FOLDER}/{partition}"
        self._root_run = root_run
        self._coord = coord
        self._begun: dict[str, tuple[Etag, bool]] = {}
        """By variable, the version of the note of its upload that this tracker has begun, and whether that goes on."""

    def uploads(self) -> dict[str, Upload]:
        """The last upload of every variable since the ledger was written, by any run."""
        found: dict[str, Upload] = {}
        for key, _ in self._store.list(self._prefix):
            stored = self._store.get_or_none(key)
            if stored is not None:
                found[_variable_of(key)] = self._read(key, *stored)
        return found

    def of_others(self, seen: Mapping[str, Etag]) -> list[str]:
        """Variables of which another root run has noted an upload that was not seen: its shards may be in place by now.

        Parameters
        ----------
        seen : mapping of variable to ETag
            Notes that region jobs of this root run have taken into account; variables that it leaves out are not asked about.
        """
        found = self.uploads()
        return [name for name, etag in seen.items() if name in found and self._is_unseen(found[name], etag)]

    def _is_unseen(self, upload: Upload, seen: Etag) -> bool:
        return not self.is_own(upload) and upload.version != seen

    def _read(self, key: str, data: bytes, version: Etag) -> Upload:
        try:
            document = json.loads(data)
            results = [load_result(self._coord, dumped) for dumped in document["results"]]
            outdated = {key: Outdated(*why) for key, why in document.get("outdated", {}).items()}
            return Upload(
                document["root_run"],
                document["finished"],
                results,
                frozenset(document["doubtful"]) - frozenset(document.get("held", ())) - outdated.keys(),
                outdated,
                frozenset(document.get("settled", ())),
                goes_on=document.get("goes_on", False),
                implausible=document.get("implausible", ""),
                is_late="held" in document,
                version=version,
            )
        except (ValueError, TypeError, KeyError) as error:
            log.warning("%s cannot be read, as if an unknown run were uploading the variable: %s", key, error)
            return Upload("", finished=False, results=(), readable=False, version=version)

    def is_own(self, upload: Upload) -> bool:
        """Whether a run with this tracker's root made the upload."""
        return upload.root_run == self._root_run

    def goes_on(self, upload: Upload) -> bool:
        """Whether what is made over an upload goes on with files that another run has read."""
        return upload.goes_on or not self.is_own(upload)

    def begin(
        self, variable: str, files: Sequence[FileResult], before: Upload | None, *, implausible: str = ""
    ) -> None:
        """Note that a variable is about to be uploaded; `before` is the upload whose shards it will replace.

        Raises
        ------
        OutcomeOvertaken
            When another upload was noted since, or that one was committed.
        """
        doubtful, outdated, settled = frozenset[str](), dict[str, Outdated](), frozenset[str]()
        goes_on = before is not None and self.goes_on(before)
        if before is not None:
            implausible = implausible or before.implausible
            known = before.lacking if before.readable else frozenset(file.coord.key() for file in files)
            doubtful = known | before.older(_etags(files))
            outdated = {key: why for key, why in before.outdated.items() if key not in doubtful}
            theirs = _etags(before.results)
            settled = before.settled & {
                one.coord.key() for one in files if not one.was_read or one.etag == theirs.get(one.coord.key())
            }
        note = self._note(
            files,
            finished=False,
            doubtful=doubtful,
            outdated=outdated,
            settled=settled,
            goes_on=goes_on,
            implausible=implausible,
        )
        version = self._put(variable, note, "absent" if before is None else before.version or None)
        self._begun[variable] = version, goes_on

    def record(self, variable: str, files: Sequence[FileResult], *, implausible: str = "") -> None:
        """Note that a variable is uploaded, and why its rates cannot be right, where they cannot.

        Raises
        ------
        OutcomeOvertaken
            When another upload was noted since this one was begun, or it was committed.
        """
        version, goes_on = self._begun.get(variable, (None, False))
        note = self._note(files, finished=True, goes_on=goes_on, implausible=implausible)
        self._put(variable, note, version)

    def doubt(self, variable: str, files: Sequence[FileResult]) -> None:
        """Note that an object of a variable landed after another run may have replaced and accounted for it.

        Whatever now stands in its place, it holds the files that both uploads have, in some version. For code that knows no
        late objects all files are doubtful.

        The right to write is not asked for: the note only makes the partition worth a heal, and a run that writes it now worth
        no commit.
        """
        late = Upload(self._root_run, finished=False, results=files)
        keys = frozenset(file.coord.key() for file in files)
        held, outdated = keys - late.lacking, late.outdated
        key = f"{self._prefix}/{variable}.json"
        if (stored := self._store.get_or_none(key)) is not None:
            noted, ours = self._read(key, *stored), _etags(files)
            held &= noted.used - noted.lacking
            held -= {one for one, etag in _etags(noted.results).items() if etag != ours.get(one)}
            outdated |= noted.outdated
        note = self._note(
            files,
            finished=False,
            doubtful=keys,
            outdated={key: why for key, why in outdated.items() if key in held},
            held=held - outdated.keys(),
        )
        self._store.guarded(None).put(key, note)

    def _put(self, variable: str, note: bytes, only_if: Expected | None) -> Etag:
        key = f"{self._prefix}/{variable}.json"
        try:
            return self._store.put(key, note, only_if=only_if)
        except ObjectMoved as error:
            raise OutcomeOvertaken(
                f"an upload of {variable} was to be noted at {self._store.url}/{key} by run {self._root_run!r}; another run has "
                "noted one since this run looked, or has committed it, and may have replaced the shards: its note stays; run "
                "the whole partition again"
            ) from error

    def _note(
        self,
        files: Sequence[FileResult],
        *,
        finished: bool,
        doubtful: frozenset[str] = frozenset(),
        implausible: str = "",
        outdated: Mapping[str, Outdated] | None = None,
        held: frozenset[str] | None = None,
        settled: frozenset[str] = frozenset(),
        goes_on: bool = False,
    ) -> bytes:
        document: JSON = {
            "root_run": self._root_run,
            "finished": finished,
            "results": [dump_result(file) for file in files],
            "doubtful": sorted({*doubtful, *(outdated or ())}),
            "implausible": implausible,
        }
        if outdated:
            # For code that does not know them these are doubtful.
            document["outdated"] = outdated
        if held is not None:
            document["held"] = sorted(held)
        if settled:
            document["settled"] = sorted(settled)
        if goes_on:
            document["goes_on"] = True
        return json.dumps(document).encode()

    def clear(self, variables: Collection[str]) -> None:
        """Delete the notes of variables that the ledger now tells of, whoever made them. Hold the partition's lease.

        Leave the others: variables that did not run, and variables whose published shards were kept.
        """
        for key, _ in self._store.list(self._prefix):
            if _variable_of(key) in variables:
                self._store.delete(key)
