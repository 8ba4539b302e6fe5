"""The sample as files. In: times and variable names. Out: GRIB2 with `.idx` beside it, in the archive's own layout."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, NamedTuple
from uuid import uuid4

from reformatters_dagster.core.spec.values import Names, Timestamp
from reformatters_dagster.core.spec.variables import Statistic
from reformatters_dagster.sample_upstream.encoder import Encoder
from reformatters_dagster.sample_upstream.gfs import (
    DEMO_VARIABLES,
    FULL_STEP,
    GFS_FIELDS,
    bucket_start,
    expected_values,
    gfs_message,
    sample_field,
)
from reformatters_dagster.sample_upstream.weather import globe_of

ARCHIVE = "noaa-gfs-bdp-pds"
CHILDREN = 2
WINDOW_WORDS: Mapping[Statistic, str] = {"avg": "ave", "acc": "acc", "max": "max", "min": "min"}


class _Entry(NamedTuple):
    """One message of a file."""

    variable: str
    since: int
    words: str
    """Its line of the index, from the third field on."""


class _SampleFile(NamedTuple):
    path: Path
    init_time: Timestamp
    lead_hours: int
    entries: tuple[_Entry, ...]
    step: float

    @property
    def index_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.idx")


def write_sample_upstream(
    folder: Path,
    init_times: Sequence[Timestamp],
    lead_hours: Sequence[int],
    *,
    variables: Names = DEMO_VARIABLES,
    step: float = FULL_STEP,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write the GFS files of some init and lead times under a folder that can be the mirror of all upstreams.

    Files that exist, whole and with the same content, are kept, so a second call is quick. A file appears whole, and before its
    index. Total precipitation comes twice, as in the archive: for the 6 h bucket, then since the start of the forecast.

    Parameters
    ----------
    variables : Names
        Names of `GFS_FIELDS`; `tuple(GFS_FIELDS)` for all.
    step : float
        Grid spacing in degrees, a divisor of 180. File names always say 0p25.
    progress : callable, optional
        Called after each file, in the caller's thread, with the number of files written and of all.

    Returns
    -------
    list of Path
        The GRIB2 files, by init time, then lead time.

    Raises
    ------
    UnknownVariable
        The sample has no variable of that name.
    EncodingFailed
        ecCodes, in its child process, could not make a message.
    """
    files = [_plan(folder, init, lead, variables, step) for init in init_times for lead in lead_hours]
    missing = [file for file in files if not _is_whole(file)]
    with ExitStack() as children:
        idle: SimpleQueue[Encoder] = SimpleQueue()
        workers = min(CHILDREN, len(missing))
        for _ in range(workers):
            idle.put(children.enter_context(Encoder()))

        def write(file: _SampleFile) -> None:
            encoder = idle.get()
            try:
                _write(file, encoder)
            finally:
                idle.put(encoder)

        globe_of(step)  # made once here; two threads would make it twice
        with ThreadPoolExecutor(max(workers, 1)) as pool:
            for done, _ in enumerate(pool.map(write, missing), 1):
                if progress is not None:
                    progress(done, len(missing))
    return [file.path for file in files]


def _plan(folder: Path, init_time: Timestamp, lead_hours: int, variables: Names, step: float) -> _SampleFile:
    wanted = [sample_field(variable) for variable in variables]
    ordered = [variable for variable, field in GFS_FIELDS.items() if field in wanted]
    entries = [entry for variable in ordered for entry in _entries(variable, init_time, lead_hours)]
    name = f"gfs.{init_time:%Y%m%d}/{init_time:%H}/atmos/gfs.t{init_time:%H}z.pgrb2.0p25.f{lead_hours:03d}"
    return _SampleFile(folder / ARCHIVE / name, init_time, lead_hours, tuple(entries), step)


def _entries(variable: str, init_time: Timestamp, lead_hours: int) -> Iterator[_Entry]:
    field = GFS_FIELDS[variable].field
    start = f"d={init_time:%Y%m%d%H}:{field.element}:{field.level}"
    if field.statistic == "instant":
        yield _Entry(variable, lead_hours, f"{start}:{f'{lead_hours} hour fcst' if lead_hours else 'anl'}:")
    elif lead_hours > 0:
        bucket = bucket_start(lead_hours)
        for since in (bucket, 0) if field.statistic == "acc" else (bucket,):
            whole_days = since == 0 and lead_hours % 24 == 0
            window = f"0-{lead_hours // 24} day" if whole_days else f"{since}-{lead_hours} hour"
            yield _Entry(variable, since, f"{start}:{window} {WINDOW_WORDS[field.statistic]} fcst:")


def _is_whole(file: _SampleFile) -> bool:
    """Whether data and index exist with these messages on this grid, and the last message ends where the data end."""
    if not (file.path.exists() and file.index_path.exists()):
        return False
    lines = [line.split(":", 2) for line in file.index_path.read_text().splitlines()]
    if [line[2:] for line in lines] != [[entry.words] for entry in file.entries]:
        return False
    if not lines:
        return True
    with file.path.open("rb") as data:
        data.seek(int(lines[-1][1]))
        head = data.read(71)
    # Octets 9-16 of section 0: length of the message. Octets 31-34 of section 3, which follows 16 + 21 octets: columns.
    length, columns = int.from_bytes(head[8:16]), int.from_bytes(head[67:71])
    return columns == round(360 / file.step) and int(lines[-1][1]) + length == file.path.stat().st_size


def _write(file: _SampleFile, encoder: Encoder) -> None:
    file.path.parent.mkdir(parents=True, exist_ok=True)
    file.index_path.unlink(missing_ok=True)
    encoded: dict[_Entry, bytes] = {}
    index = []
    with _appearing(file.path) as out:
        for number, entry in enumerate(file.entries, 1):
            if entry not in encoded:
                encoded[entry] = _encode(file, entry, encoder)
            index.append(f"{number}:{out.tell()}:{entry.words}\n")
            out.write(encoded[entry])
    with _appearing(file.index_path) as out:
        out.write("".join(index).encode())


def _encode(file: _SampleFile, entry: _Entry, encoder: Encoder) -> bytes:
    values = expected_values(entry.variable, file.init_time, file.lead_hours, step=file.step, since=entry.since)
    field = GFS_FIELDS[entry.variable]
    return encoder.encode(gfs_message(field, file.init_time, file.lead_hours, values, entry.since))


@contextmanager
def _appearing(path: Path) -> Iterator[BinaryIO]:
    """A file that has another name until it is complete."""
    partial = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with partial.open("wb") as out:
            yield out
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
