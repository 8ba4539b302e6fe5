"""Imports point to a lower floor only, never sideways between rooms, and the sealed doors stay shut.

Imports in functions and under TYPE_CHECKING count: they hide cycles.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "reformatters_dagster"
CORE, ORCHESTRATION = f"{PACKAGE}.core", f"{PACKAGE}.orchestration"

FLOORS = (
    ("core.spec",),
    ("core.grib", "core.source", "core.field", "core.shard"),
    ("core.store",),
    ("core.ledger",),
    ("core.job", "core.check"),
    ("core.run",),
    ("FACADE", "pictures", "compile_kernels"),
    ("orchestration", "sample_upstream", "report", "PROVIDER"),
    ("dataset_defs", "scaffold"),
    ("DEFINITIONS", "demo"),
    ("cli",),
)
"""Rooms, from the ground up. FACADE is what `from reformatters_dagster import …` gives to datasets."""
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
OF_ONE_PROVIDER = "PROVIDER"
ENVIRONMENT = {"os.environ", "os.getenv"}
# The encoder only hands it on to its child.
READ_THE_ENVIRONMENT = {f"{ORCHESTRATION}.resources", f"{PACKAGE}.cli.options", f"{PACKAGE}.sample_upstream.encoder"}
ECCODES_CHILDREN = (
    f"{PACKAGE}.core.grib.eccodes_child",
    f"{PACKAGE}.sample_upstream.eccodes_child",
    "tests.eccodes_child",
)

type House = dict[str, ast.Module]


def parse(root: Path, *tops: str) -> House:
    """Every module under the named folders, by its dotted name."""
    paths = sorted(path for top in tops for path in (root / top).rglob("*.py"))
    names = [".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return {name: ast.parse(path.read_text(), str(path)) for name, path in zip(names, paths, strict=True)}


def room(module: str) -> str:
    """The room a module lies in: one of `core`, one provider, or what stands beside `core`."""
    top, *parts = module.split(".")
    if top == "dataset_defs":
        if parts[-1:] == ["definitions"] and len(parts) <= 2:
            return f"DEFINITIONS of {parts[0] if parts[1:] else 'all'}"
        return f"{OF_ONE_PROVIDER} {parts[0]}" if parts else top
    return ".".join(parts[: 2 if parts[0] == "core" else 1]) if parts else "FACADE"


def floor(module: str) -> int | None:
    """Number of its room's floor; -1 for the package that only holds the rooms of core; None for a room without one."""
    return -1 if module == CORE else FLOOR.get(room(module).partition(" ")[0])


def dotted_imports(tree: ast.Module) -> Iterator[str]:
    """`import a.b` is a.b, `from a import b` is a.b whatever b is, and so is a use of the environment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in ENVIRONMENT:
            yield ast.unparse(node)


def sealed(module: str, target: str) -> str | None:
    """Why this import is refused whatever the floors are."""
    top = target.split(".", maxsplit=1)[0]
    datasets = module.startswith("dataset_defs") and not room(module).startswith("DEFINITIONS")
    if not top:
        return "write the full name"
    if (top in {"eccodes", "gribapi"} or target.startswith(ECCODES_CHILDREN)) and module not in ECCODES_CHILDREN:
        return "only child processes of their own hold ecCodes, which crashes beside pygrib"
    if (datasets or module.startswith(CORE)) and top.split("_")[0] in {"dagster", "kubernetes"}:
        return "orchestration is the only code that knows Dagster"
    if datasets and f"{target}.".startswith(f"{CORE}."):
        return f"a dataset takes what it needs from {PACKAGE} itself"
    if module.startswith(ORCHESTRATION) and top == "dataset_defs":
        return "only a provider's definitions join its datasets and Dagster"
    if module.startswith(ORCHESTRATION) and target == "__future__.annotations":
        return "Dagster reads annotations as values"
    if target in ENVIRONMENT and module not in READ_THE_ENVIRONMENT:
        return f"only {sorted(READ_THE_ENVIRONMENT)} read the environment"
    return None


def violations(root: Path) -> Iterator[str]:
    house = parse(root, PACKAGE, "dataset_defs")
    for module, tree in house.items():
        height = floor(module)
        if height is None:
            yield f"{module} is in a room without a floor: add {room(module)!r} to FLOORS in tests/test_floors.py"
            continue
        for target in dotted_imports(tree):
            if reason := sealed(module, target):
                yield f"{module} imports {target}: {reason}"
            there = imported_module(house, target)
            below = floor(there) if there is not None and room(there) != room(module) else None
            if below is not None and below >= height:
                yield f"{module} (floor {height}) imports {there} (floor {below}): imports point to a lower floor only"


def imported_module(house: House, target: str) -> str | None:
    there = target if target in house else target.rpartition(".")[0]
    return there if there in house else None


def circle(root: Path, *tops: str) -> list[str]:
    """Modules that import each other in a ring, the first of them again at the end; empty where there is no ring."""
    house = parse(root, *tops)
    graph = {
        module: {
            there for target in dotted_imports(tree) if (there := imported_module(house, target)) not in {None, module}
        }
        for module, tree in house.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_imports_point_down_and_sealed_doors_stay_shut() -> None:
    found = sorted(set(violations(ROOT)))
    assert not found, "\n".join(found)


def test_no_modules_import_each_other_in_a_ring() -> None:
    assert circle(ROOT, PACKAGE, "dataset_defs", "benchmarks") == []


def test_no_test_brings_eccodes_into_the_process_of_pygrib() -> None:
    refused = [
        (m, t, sealed(m, t)) for m, tree in parse(ROOT, "tests").items() for t in dotted_imports(tree) if "eccodes" in t
    ]
    assert [row for row in refused if row[2]] == []


def test_every_room_of_the_table_is_built() -> None:
    house = parse(ROOT, PACKAGE, "dataset_defs")
    assert {room(module).partition(" ")[0] for module in house if module != CORE} == set(FLOOR)


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        (f"{PACKAGE}/core/spec/region.py", f"def f():\n    from {CORE}.run import dataset", "dataset (floor 5)"),
        (f"{PACKAGE}/core/grib/messages.py", f"if TYPE_CHECKING:\n    import {CORE}.shard.writer", "writer (floor 1)"),
        (f"{PACKAGE}/core/__init__.py", f"from {CORE}.shard.writer import write", "(floor -1)"),
        (f"{PACKAGE}/core/run/plan.py", f"from {PACKAGE} import DataVar", f"imports {PACKAGE} (floor 6)"),
        (f"{PACKAGE}/core/grib/messages.py", "from .region import x", "write the full name"),
        (f"{PACKAGE}/core/utils/text.py", "", "add 'core.utils' to FLOORS"),
        (f"{PACKAGE}/core/grib/messages.py", "import dagster_k8s", "the only code that knows Dagster"),
        (f"{PACKAGE}/core/grib/messages.py", "import os\nos.environ.get('HOME')", "read the environment"),
        (f"{PACKAGE}/core/grib/messages.py", "from os import getenv", "read the environment"),
        (f"{PACKAGE}/core/grib/messages.py", "def f():\n    import eccodes", "only child processes"),
        (f"{PACKAGE}/orchestration/assets.py", "from dataset_defs.noaa.gfs import forecast", "join its datasets"),
        (f"{PACKAGE}/orchestration/assets.py", "from __future__ import annotations", "annotations as values"),
        ("dataset_defs/ecmwf/ifs/forecast.py", "from dataset_defs.noaa.gfs import forecast", "forecast (floor 7)"),
        ("dataset_defs/ecmwf/ifs/forecast.py", "import dagster as dg", "the only code that knows Dagster"),
        ("dataset_defs/ecmwf/ifs/forecast.py", f"from {CORE}.spec.axes import lead_time", f"from {PACKAGE} itself"),
        ("dataset_defs/ecmwf/ifs/forecast.py", f"def f():\n    from {PACKAGE} import core", f"from {PACKAGE} itself"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, path: str, source: str, found: str) -> None:
    neighbours = (
        f"{PACKAGE}/__init__.py",
        f"{PACKAGE}/core/run/dataset.py",
        f"{PACKAGE}/core/shard/writer.py",
        "dataset_defs/noaa/gfs/forecast.py",
    )
    for name in (*neighbours, path):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source if name == path else "")
    message = " ".join(violations(tmp_path))
    assert path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") in message
    assert found in message


def test_one_provider_s_own_modules_import_each_other(tmp_path: Path) -> None:
    gfs = tmp_path / "dataset_defs/noaa/gfs"
    gfs.mkdir(parents=True)
    (gfs / "variables.py").touch()
    (gfs / "forecast.py").write_text("from dataset_defs.noaa.gfs.variables import GFS")
    (gfs.parent / "definitions.py").write_text("import dagster\nfrom dataset_defs.noaa.gfs import forecast")
    assert list(violations(tmp_path)) == []


def test_a_ring_of_imports_is_found(tmp_path: Path) -> None:
    for name, other in (("plan", "commit"), ("commit", "plan")):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / f"run/{name}.py").write_text(f"def f():\n    from run.{other} import x")
    assert set(circle(tmp_path, "run")) == {"run.plan", "run.commit"}
