"""`uv run --group bench python -m benchmarks`: see `--help`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import report
from benchmarks.compare import PIPELINES, compare
from benchmarks.inputs import LEAD_HOURS, make_task

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


@app.callback()
def main() -> None:
    """What the pipeline costs, measured."""


Folder = Annotated[Path, typer.Option(help="Inputs and outputs; inputs are kept for the next time.")]
Write = Annotated[bool, typer.Option("--write", help="Put the result into benchmarks/README.md.")]
DATA, REAL = Path("data/benchmarks"), Path("../shared/data")


def _say(words: str) -> None:
    typer.echo(words, err=True)


def _tell(section: str, text: str, write: bool, page: Path = report.README) -> None:
    typer.echo(text)
    if write:
        report.write(section, text, page)


@app.command(name="compare")
def compare_pipelines(
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    lead_hours: Annotated[int, typer.Option(min=8)] = LEAD_HOURS,
    only: Annotated[list[str] | None, typer.Option(help="These pipelines alone.")] = None,
    folder: Folder = DATA,
    write: Write = False,
) -> None:
    """CPU, wall and memory of this project's pipeline against others on the same files."""
    names = tuple(name for name in PIPELINES if not only or name in only)
    comparison = compare(folder.absolute(), rounds, names, _say, lead_hours)
    _tell("compare", report.comparison(comparison), write)
    if write:
        report.plot(comparison)


@app.command(name="scale")
def measure_scale(folder: Folder = DATA, write: Write = False) -> None:
    """What planning, sensors, status and loading cost with 100, 1,000 and 10,000 partitions."""
    from benchmarks import scale

    _tell("scale", report.scale(scale.LENGTHS, scale.measure(folder.absolute(), _say)), write)


@app.command(name="startup")
def measure_startup(
    folder: Folder = DATA,
    inside: Annotated[
        str,
        typer.Option(
            help="Compare with an image: a command that runs what follows it in there, as `docker run --rm IMAGE`."
        ),
    ] = "",
    write: Write = False,
) -> None:
    """What imports, compiled kernels and Dagster cost before and around the work.

    With `--inside`, imports and kernels alone, here and there; `--write` puts that into helm/README.md.
    """
    from benchmarks import startup

    if inside:
        text = report.inside(startup.measure_inside(shlex.split(inside), startup.code_locations(), _say))
        _tell("startup in the image", text, write, report.CHART)
        return
    place = folder.absolute()
    _tell("startup", report.startup(startup.measure(place, make_task(place), _say)), write)


@app.command(name="codecs")
def measure_codecs(
    data: Annotated[Path, typer.Option(help="Folder of GRIB2 files.")] = REAL, write: Write = False
) -> None:
    """Size, write and read speed of zstd levels and shuffles on real messages."""
    from benchmarks import codecs

    _tell("codecs", report.codecs(codecs.measure(data)), write)


@app.command(name="shards")
def measure_shards(
    rounds: Annotated[int, typer.Option(min=1)] = 9, folder: Folder = DATA, write: Write = False
) -> None:
    """The whole job with shards that zarr-python writes, and with shards assembled in threads."""
    from benchmarks import shards

    _tell("shards", report.shards(shards.measure(folder.absolute(), _say, rounds)), write)


@app.command(name="all")
def measure_all(folder: Folder = DATA, write: Write = False) -> None:
    """Everything above, one after the other."""
    compare_pipelines(folder=folder, write=write)
    measure_shards(folder=folder, write=write)
    measure_scale(folder=folder, write=write)
    measure_startup(folder=folder, write=write)
    measure_update(folder=folder, write=write)
    measure_page(folder=folder, write=write)
    if REAL.is_dir():
        measure_codecs(write=write)


@app.command(name="update")
def measure_update(
    rounds: Annotated[int, typer.Option(min=1)] = 3, folder: Folder = DATA, write: Write = False
) -> None:
    """What the last six hours of a shard of 60 days cost, beside the whole shard."""
    from benchmarks import shard_update

    _tell("update", report.update(shard_update.measure(folder.absolute(), _say, rounds)), write)


@app.command(name="page")
def measure_page(folder: Folder = DATA, write: Write = False) -> None:
    """What `reformat report` costs on two partitions of a real size; its store takes 2 GB of the folder."""
    from benchmarks import page

    _tell("page", report.page(page.measure(folder.absolute(), _say)), write)


@app.command(name="scaling")
def work_out_scaling(
    only: Annotated[list[str] | None, typer.Option(help="These sections of docs/scaling.md alone.")] = None,
    folder: Folder = DATA,
    write: Annotated[bool, typer.Option("--write", help="Put the tables into docs/scaling.md.")] = False,
) -> None:
    """What full backfills, long queues, event logs and many datasets take, and where they break."""
    from benchmarks import scaling_run

    for section, text in scaling_run.sections(folder.absolute(), _say, only):
        typer.echo(text)
        if write:
            report.write(section, text, scaling_run.PAGE)


if __name__ == "__main__":
    app()
