"""`reformat new-dataset`: what it writes passes as it stands, and it never writes over anything."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reformatters_dagster.cli import app
from reformatters_dagster.core.spec.errors import DatasetExists, NotACheckout, UnusableName
from reformatters_dagster.scaffold import EXAMPLES, PLACEHOLDERS, DatasetName, Index, placeholders_in, scaffold_dataset

ROOT = Path(__file__).parents[1]
# Models that no one will add, of a provider that is known and of one that is not.
KNOWN = DatasetName("noaa", "no-such", "forecast-21-hour")
NEW = DatasetName("nobody", "no-such-regional", "forecast")


def of_kind(name: DatasetName, index: Index) -> DatasetName:
    return DatasetName(name.provider, name.model, f"{index}-{name.variant}")


LISTED = of_kind(KNOWN, "ecmwf")
"""One that the catalogue of public datasets is made to know."""
every_index = pytest.mark.parametrize("index", EXAMPLES)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The part of a checkout that is copied from, and to."""
    without = shutil.ignore_patterns("__pycache__")
    examples = [f"templates/{'-'.join(words)}" for words in EXAMPLES.values()]
    for folder in ("dataset_defs", "tests/dataset_defs", *examples):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=without)
    shutil.copyfile(ROOT / "workspace.yaml", tmp_path / "workspace.yaml")
    return tmp_path


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@every_index
def test_a_dataset_of_a_provider_that_is_known(checkout: Path, index: Index) -> None:
    before = files_of(checkout)
    written = scaffold_dataset(checkout, KNOWN, index)
    after = files_of(checkout)
    assert {path for path in after if after[path] != before.get(path)} == set(written)
    assert [str(path) for path in written if path.parts[0] != "templates"] == [
        "dataset_defs/__init__.py",
        "dataset_defs/noaa/no_such/__init__.py",
        "dataset_defs/noaa/no_such/forecast_21_hour.py",
        "tests/dataset_defs/facts/noaa_no_such_forecast_21_hour.py",
        "tests/dataset_defs/noaa/test_no_such_forecast_21_hour.py",
    ]
    template = {path for path in written if path.parts[0] == "templates"}
    example = Path("templates", "-".join(EXAMPLES[index]))
    assert {path.relative_to("templates/noaa-no-such-forecast-21-hour") for path in template} == {
        path.relative_to(example) for path in before if path.is_relative_to(example)
    }
    assert '    "dataset_defs.noaa.no_such.forecast_21_hour",\n' in (checkout / "dataset_defs/__init__.py").read_text()
    for path in written:
        if path.suffix in {".py", ".json"}:
            text = (checkout / path).read_text()
            assert "example" not in text.replace("example.org", "").lower(), path
            if path.suffix == ".py":
                ast.parse(text)
    definition = (checkout / "dataset_defs/noaa/no_such/forecast_21_hour.py").read_text()
    assert definition.startswith('"""NOAA NO-SUCH forecast 21 hour: global')
    assert "class NoSuchForecast21HourRegionJob(" in definition
    reads = {"noaa": "IdxGribRegionJob", "ecmwf": "MarsIndexGribRegionJob", "none": "WholeFileGribRegionJob"}
    assert [job for job in reads.values() if f"    {job}[FileCoord],\n" in definition] == [reads[index]]


@every_index
def test_a_provider_that_is_new_gets_a_code_location(checkout: Path, index: Index) -> None:
    written = {str(path) for path in scaffold_dataset(checkout, NEW, index)}
    own = {"__init__.py", "README.md", "definitions.py", "no_such_regional/__init__.py", "no_such_regional/forecast.py"}
    assert written >= {f"dataset_defs/nobody/{name}" for name in own}
    assert written >= {"tests/dataset_defs/nobody/__init__.py", "workspace.yaml"}
    assert 'of_provider("nobody"), among=PROVIDERS)' in (checkout / "dataset_defs/nobody/definitions.py").read_text()
    scaffold_dataset(checkout, DatasetName("nobody", "no-such-regional", "analysis"), index)
    assert (checkout / "workspace.yaml").read_text().count("module_name: dataset_defs.nobody.definitions\n") == 1
    modules = (checkout / "dataset_defs/__init__.py").read_text().partition("MODULES = (\n")[2].partition(")")[0]
    assert modules.splitlines() == sorted(modules.splitlines())


@pytest.mark.parametrize(
    ("name", "there"),
    [
        (DatasetName("noaa", "gfs", "forecast"), "dataset_defs/noaa/gfs/forecast.py"),
        (KNOWN, "templates/noaa-no-such-forecast-21-hour/latest.zarr/zarr.json"),
        (KNOWN, "tests/dataset_defs/facts/noaa_no_such_forecast_21_hour.py"),
        (DatasetName("noaa", "grib-files", "forecast"), "dataset_defs/noaa/grib_files.py"),
    ],
)
def test_nothing_is_written_over(checkout: Path, name: DatasetName, there: str) -> None:
    (checkout / there).parent.mkdir(parents=True, exist_ok=True)
    (checkout / there).touch()
    before = files_of(checkout)
    with pytest.raises(
        DatasetExists, match=f"dataset '{name.dataset_id}' was to be made; {there} is there already, and"
    ):
        scaffold_dataset(checkout, name)
    assert files_of(checkout) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("NOAA", "gfs", "forecast"), "provider 'NOAA' was given; it must be lower-case letters and digits, and begin"),
        (
            ("no-aa", "gfs", "forecast"),
            "provider 'no-aa' was given; it must be lower-case letters and digits, and begin",
        ),
        (
            ("noaa", "gfs_v16", "forecast"),
            "model 'gfs_v16' was given; it must be lower-case letters and digits, single",
        ),
        (("noaa", "gfs", "35-day"), "variant '35-day' was given; it must be .*, and begin with a letter"),
        (("noaa", "gfs", "forecast--1"), "variant 'forecast--1' was given"),
        (("noaa", "..", "forecast"), "model '..' was given"),
        (("noaa", "gfs", ""), "variant '' was given"),
        (("noaa", "gfs", "class"), "variant 'class' was given; that word is taken by Python or by this project"),
        (("example", "gfs", "forecast"), "provider 'example' was given; that word is taken"),
        (("noaa", "definitions", "forecast"), "model 'definitions' was given; that word is taken"),
        (("noaa", "m" * 49, "forecast-1"), "its id has 65 characters, at most 63 are possible: use shorter words"),
    ],
)
def test_words_that_name_no_dataset_are_refused(words: tuple[str, str, str], told: str) -> None:
    with pytest.raises(UnusableName, match=told):
        DatasetName(*words)


def test_the_command_refuses_with_a_message_and_status_2() -> None:
    before = files_of(ROOT / "dataset_defs")
    for words, error in ((("noaa", "gfs", "forecast"), "DatasetExists: "), (("noaa", "GFS", "x"), "UnusableName: ")):
        result = CliRunner().invoke(app, ["new-dataset", *words])
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(error)
    assert files_of(ROOT / "dataset_defs") == before


def test_without_a_checkout_there_is_nothing_to_copy(tmp_path: Path) -> None:
    with pytest.raises(NotACheckout, match="run this in a checkout of the project"):
        scaffold_dataset(tmp_path, KNOWN)
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_datasets_that_is_none_is_left_alone(checkout: Path) -> None:
    (checkout / "dataset_defs/__init__.py").write_text("MODULES = ()\n")
    before = files_of(checkout)
    with pytest.raises(
        NotACheckout, match="was to hold a table MODULES, one module on each line; it does not: restore it"
    ):
        scaffold_dataset(checkout, KNOWN)
    assert files_of(checkout) == before


@pytest.mark.parametrize(
    "name",
    [
        DatasetName("a", "b", "c"),
        DatasetName("noaa", "zzz", "forecast"),
        DatasetName("nobody", "a-model-of-the-ocean-and-the-ice", "forecast-35-day-0-5-deg"),
        DatasetName("a", "m" * 52, "analysis"),
        DatasetName("p" * 59, "b", "c"),
    ],
    ids=lambda name: name.dataset_id,
)
@every_index
def test_what_is_made_is_formatted_whatever_the_length_of_its_name(
    checkout: Path, name: DatasetName, index: Index
) -> None:
    shutil.copyfile(ROOT / "pyproject.toml", checkout / "pyproject.toml")
    # By what is there ruff tells the project's own imports from others'.
    (checkout / "reformatters_dagster").symlink_to(ROOT / "reformatters_dagster")
    written = [str(path) for path in scaffold_dataset(checkout, name, index) if path.suffix == ".py"]
    for command in (("check",), ("format", "--check")):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", *written],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@every_index
def test_a_dataset_that_was_only_copied_is_known_by_its_texts(index: Index) -> None:
    definition = "/".join(("dataset_defs", *EXAMPLES[index])) + ".py"
    assert placeholders_in((ROOT / definition).read_text()) == list(PLACEHOLDERS)
    assert placeholders_in("CC BY 4.0", None) == []


def copied_checkout(folder: Path) -> Path:
    """The project's files, and beside them a catalogue of public datasets that knows one more id."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for path in filter(None, listed.split("\0")):
        (folder / "checkout" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, folder / "checkout" / path)
    shared = ROOT.parent / "shared"
    (folder / "shared/data").mkdir(parents=True)
    (folder / "shared/reference").mkdir()
    for real in (shared / "data").iterdir():
        (folder / "shared/data" / real.name).symlink_to(real)
    catalogue = json.loads((shared / "reference/datasets.json").read_text())
    catalogue[LISTED.dataset_id] = catalogue["noaa-gfs-forecast"]
    (folder / "shared/reference/datasets.json").write_text(json.dumps(catalogue))
    return folder / "checkout"


@pytest.mark.slow
@pytest.mark.usefixtures("shared_data")
def test_what_is_made_passes_the_checks_of_a_push(tmp_path: Path) -> None:
    """Each kind, of a known and a new provider: linted, in the workspace, template in sync, its tests and the contract green."""
    checkout = copied_checkout(tmp_path)

    def run(*command: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        done = subprocess.run(
            [sys.executable, *command], cwd=checkout, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    reformat = "from reformatters_dagster.cli import app; app()"
    names = {of_kind(name, index): index for name in (KNOWN, NEW) for index in EXAMPLES}
    for name, index in names.items():
        words = ("new-dataset", name.provider, name.model, name.variant, "--index", index)
        assert f"templates/{name.dataset_id}/latest.zarr" in run("-c", reformat, *words)
    in_sync = run("-c", reformat, "update-template", "--all", "--check")
    assert all(f"{name.dataset_id}: in sync" in in_sync for name in names)
    run("-m", "ruff", "check", "--no-cache")
    run("-m", "ruff", "format", "--check", "--no-cache")
    own = [f"dataset_defs/{name.provider}/{name.test}.py" for name in names]
    contract = ("dataset_defs/test_every_dataset.py", "dataset_defs/test_catalogue.py")
    shared = (*contract, "test_floors.py", "orchestration/test_build.py")
    chosen = ("no-such", "no_such", "imports_point", "code_location", "several_datasets", "ids_are_unique")
    tests = [f"tests/{path}" for path in (*own, *shared)]
    told = run("-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *tests, "-k", " or ".join(chosen))
    assert int(told.rpartition(" passed")[0].split()[-1]) > 200
    assert f"{LISTED.dataset_id} is in ../shared/reference/datasets.json, but made up" in told
