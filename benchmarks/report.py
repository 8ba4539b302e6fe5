"""Measurements to words: Markdown for the terminal and for `benchmarks/README.md`, and the plot beside it."""

import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import prod
from pathlib import Path
from statistics import median

from benchmarks.child import Run
from benchmarks.codecs import Field
from benchmarks.compare import LIMIT, OURS, PIPELINES, Comparison
from benchmarks.page import Page
from benchmarks.shard_update import ShardUpdate
from benchmarks.startup import Cost, StartUp

CHART = Path(__file__).parents[1] / "helm/README.md"
README, PLOT = Path(__file__).with_name("README.md"), Path(__file__).with_name("cpu.png")

TARGETS = (
    ("gdal", OURS, "CPU", lambda run: run.cpu, 2.5, 1),
    ("cfgrib_xarray", OURS, "CPU", lambda run: run.cpu, 5.0, 1),
    (OURS, LIMIT, "CPU", lambda run: run.cpu, 1.6, -1),
    ("gdal", OURS, "wall", lambda run: run.wall, 2.0, 1),
)
"""Numerator, denominator, figure, target, and whether more (1) or less (-1) is better."""


def machine() -> str:
    """What the measurements were made on."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.process_cpu_count()} cores of {model or platform.machine()}, {system}"


def stamp() -> str:
    """Date, machine and how busy it was."""
    load = os.getloadavg()[0]
    return f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {machine()}; load average at the end {load:.1f}."


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median and, in brackets, least and most."""
    return f"{median(values):.{digits}f} [{min(values):.{digits}f} to {max(values):.{digits}f}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def comparison(found: Comparison) -> str:
    """Everything of one `compare`, as Markdown."""
    rounds = len(found.runs[OURS])
    values = found.task.lead_hours * 721 * 1440 * 8 / 1e6
    parts = [
        f"{stamp()} {rounds} interleaved rounds; median [least to most]. {found.task.lead_hours} lead times of 2 variables, "
        f"{values:.0f} MB of float32, {found.task.workers} workers.",
        _cost_table(found),
        _ratio_table(found),
        _memory_line(found),
        "Outputs, compared with this project's before anything was timed: "
        + "; ".join(f"{PIPELINES[name]}: {words}" for name, words in found.agreement.items() if name != OURS)
        + ". Every later run wrote the same bytes as the first of its pipeline.",
        "Where this project's CPU seconds go (stages one after the other, one thread):\n\n"
        + _stage_table(found.stages),
    ]
    return "\n\n".join(parts) + "\n"


def _cost_table(found: Comparison) -> str:
    figures: Sequence[tuple[Callable[[Run], float], int]] = (
        (lambda run: run.cpu, 2),
        (lambda run: run.wall, 2),
        (lambda run: run.process_cpu, 2),
        (lambda run: run.peak, 0),
        (lambda run: run.bytes / 1e6, 1),
    )
    head = ["pipeline", "work, CPU s", "work, wall s", "whole process, CPU s", "peak memory, MB", "shards, MB"]
    rows = [
        [
            PIPELINES[name],
            *(spread([*map(f, runs)], digits) for f, digits in figures[:-1]),
            f"{runs[0].bytes / 1e6:.1f}",
        ]
        for name, runs in found.runs.items()
    ]
    return table(head, rows)


def _ratio_table(found: Comparison) -> str:
    rows = []
    for over, under, what, figure, target, better in TARGETS:
        if {over, under} <= found.runs.keys():
            ratios = found.ratios(figure, over, under)
            met = "yes" if better * median(ratios) >= better * target else "**no**"
            sign = "≥" if better > 0 else "≤"
            rows.append([f"{PIPELINES[over]} / {PIPELINES[under]}", what, spread(ratios), f"{sign} {target}", met])
    return table(["ratio within one round", "of", "measured", "target", "met"], rows)


def _memory_line(found: Comparison) -> str:
    buffer = prod(found.task.shape) * 4 / 1e6
    limit, peak = 1.3 * buffer + 500, max(run.peak for run in found.runs[OURS])
    met = "met" if peak <= limit else "**not met**"
    return (
        f"Peak memory of this project is at most {peak:.0f} MB. Its largest variable takes {buffer:.0f} MB; the target of 1.3 "
        f"times that and 500 MB, {limit:.0f} MB, is {met}. Downloads wait on disk, and one variable at a time is uploaded."
    )


def _stage_table(run: Run) -> str:
    total = sum(run.stages.values())
    return table(
        ["stage", "CPU s", "share"], [[n, f"{s:.2f}", f"{100 * s / total:.0f} %"] for n, s in run.stages.items()]
    )


def shards(found: Mapping[str, Sequence[Run]]) -> str:
    """What writing shards one way or the other makes of the whole job."""
    first = next(iter(found.values()))

    def saved(runs: Sequence[Run], figure: Callable[[Run], float]) -> str:
        return spread([100 * (1 - figure(run) / figure(own)) for own, run in zip(first, runs, strict=True)], 0)

    head = ["shards are written by", "whole job, CPU s", "wall s", "CPU saved, %", "wall saved, %"]
    rows = [
        [
            name,
            spread([run.cpu for run in runs]),
            spread([run.wall for run in runs]),
            *(("", "") if runs is first else (saved(runs, lambda run: run.cpu), saved(runs, lambda run: run.wall))),
        ]
        for name, runs in found.items()
    ]
    return f"{stamp()} {len(first)} interleaved rounds; median [least to most].\n\n{table(head, rows)}\n"


def scale(lengths: Sequence[int], found: Mapping[str, Sequence[float]]) -> str:
    """The curve of every operation over the archive's length."""
    head = ["CPU ms, median of 5", *(f"{length:,} partitions" for length in lengths), "last / first"]
    rows = [
        [name, *(f"{one:.0f}" for one in times), f"{times[-1] / max(times[0], 0.1):.1f}"]
        for name, times in found.items()
    ]
    return f"{stamp()}\n\n{table(head, rows)}\n"


def page(found: Mapping[str, Page]) -> str:
    """What reports on a store of real size cost."""
    head = ["`reformat report noaa-gfs-forecast`", "CPU s", "wall s", "peak memory, MB", "page, MB"]
    rows = [
        [name, f"{one.cpu:.0f}", f"{one.wall:.0f}", f"{one.peak:,.0f}", f"{one.size:.2f}"]
        for name, one in found.items()
    ]
    return f"{stamp()}\n\n{table(head, rows)}\n"


def startup(found: StartUp) -> str:
    """Imports, kernels, and what Dagster adds to a partition."""
    partition = {name.replace("_", "-"): cost for name, cost in found.partition.items()}
    added = {name: cost - partition["core"] for name, cost in partition.items() if name != "core"}
    costs = {
        **{f"import `{name}`": cost for name, cost in found.imports.items()},
        **{f"first use of the kernels, {name}": cost for name, cost in found.kernels.items()},
        **{f"a partition of next to no data, {name}": cost for name, cost in partition.items()},
        **{f"added by Dagster, {name}": cost for name, cost in added.items()},
    }
    rows = [[name, f"{cost.cpu:.2f}", f"{cost.wall:.2f}"] for name, cost in costs.items()]
    shares = "; ".join(f"{name} {100 * cost.cpu / found.whole:.1f} %" for name, cost in added.items())
    return (
        f"{stamp()}\n\n{table(['fresh processes, median', 'CPU s', 'wall s'], rows)}\n\n"
        f"A whole GFS partition is estimated at {found.whole:.0f} CPU s, by the messages it has. Dagster adds: {shares}.\n"
    )


def inside(found: Mapping[str, tuple[Cost, Cost]]) -> str:
    """What is paid at a start here, and in an image on the same machine."""
    rows = [
        [what, *(f"{figure:.2f}" for one in costs for figure in (one.cpu, one.wall))] for what, costs in found.items()
    ]
    head = ["fresh processes, median", "here, CPU s", "wall s", "in the image, CPU s", "wall s"]
    return f"{stamp()}\n\n{table(head, rows)}\n"


def codecs(found: Sequence[Field]) -> str:
    """Ratio, write and read speed of every compressor on every field."""
    trials = found[0].trials if found else ()
    head = [
        "field, mantissa bits kept",
        *(f"zstd {one.level} {one.shuffle}{'' if one.block else ', blocks by c-blosc'}" for one in trials),
    ]
    rows = [
        [
            f"{field.name}, {field.bits}",
            *(f"{one.ratio:.2f} / {one.write:.0f} / {one.read:.0f}" for one in field.trials),
        ]
        for field in found
    ]
    return f"{stamp()} Compression ratio / MB written / MB read per CPU second.\n\n{table(head, rows)}\n"


def update(found: ShardUpdate) -> str:
    """The last hours of a shard beside all of it."""
    rows = [
        [
            name,
            spread([cost.cpu for cost in costs]),
            spread([cost.wall for cost in costs]),
            f"{costs[0].bytes_in / 1e6:.1f}",
        ]
        for name, costs in {"all 1,440 hours": found.whole, "the last 6": found.last}.items()
    ]
    cpu = spread([whole.cpu / last.cpu for whole, last in zip(found.whole, found.last, strict=True)])
    download = found.whole[0].bytes_in / found.last[0].bytes_in
    return (
        f"{stamp()} {len(found.whole)} interleaved rounds; median [least to most].\n\n"
        f"{table(['update', 'CPU s', 'wall s', 'downloaded, MB'], rows)}\n\n"
        f"Ratios: CPU {cpu}, download {download:.0f}. Both ways end in the same {found.shard_bytes / 1e6:.0f} MB.\n"
    )


def write(section: str, text: str, path: Path = README) -> None:
    """Put a section between its marks in the README."""
    pattern = rf"(<!-- {section}: begin -->\n).*?(<!-- {section}: end -->)"
    before = path.read_text()
    after, count = re.subn(pattern, lambda found: f"{found[1]}{text}{found[2]}", before, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{path} holds {count} sections marked {section!r}, expected one")
    path.write_text(after)


def plot(found: Comparison, path: Path = PLOT) -> None:
    """CPU seconds of every run, a bar for the median, a dot for each run."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.use("Agg")
    figure = Figure(figsize=(8, 0.7 * len(found.runs) + 1), layout="constrained")
    axes = figure.subplots()
    names = list(found.runs)
    axes.barh(
        [PIPELINES[n].replace("`", "") for n in names],
        [found.median(lambda r: r.cpu, n) for n in names],
        color="#4878a8",
    )
    for row, name in enumerate(names):
        axes.plot([run.cpu for run in found.runs[name]], [row] * len(found.runs[name]), "k.", ms=4)
    axes.invert_yaxis()
    axes.set_xlabel("CPU seconds (bar: median, dots: runs)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100)
