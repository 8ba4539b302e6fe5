"""Imports point to a lower floor only, and the sealed doors stay shut.

Imports in functions and under TYPE_CHECKING count: they hide cycles.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE, ORCHESTRATION = "reformatters_dagster.core", "reformatters_dagster.orchestration"

FLOORS = (
    ("core.types", "core.errors", "core._compiled", "core.tmp_folder"),
    ("core.wording",),
    (
        "core.config",
        "core.region",
        "core.grib_sections",
        "core.store_failures",
        "core._transform_kernels",
        "core._grib_kernels",
    ),
    ("core.projection",),
    ("core.template", "core.source_file", "core.guards", "core.object_store", "core.grib_packing", "core.shard_patch"),
    (
        "core.download",
        "core.grib",
        "core.regrid",
        "core.compression",
        "core.transforms",
        "core.field_buffer",
        "core.shards",
        "core.storage",
        "core.pictures",
    ),
    ("core.ledger", "core.lease", "core.progress", "core.published", "core.settings"),
    ("core.reuse", "core.validation"),
    ("core.structure_checks", "core.drift_check"),
    ("core.job_context", "core.ledger_checks"),
    ("core.pools", "core.region_hooks", "core.partition_run"),
    ("core.region_job", "core.publication"),
    ("core.grib_job",),
    ("core.coverage", "core.indexed_grib", "core.whole_file_grib", "core.arrivals"),
    ("core.replicas", "core.commit", "core.partition_guards"),
    ("core.dataset",),
    ("core.status",),
    (
        "core.backfill",
        "core.reconcile",
        "orchestration.names",
        "orchestration.partitions",
        "orchestration.resources",
        "orchestration.materialization",
        "sample_upstream",
        "PROVIDER",
    ),
    ("orchestration.lost_runs",),
    (
        "orchestration.alerts",
        "orchestration.assets",
        "orchestration.checks",
        "orchestration.run_coordinator",
        "orchestration.sensors",
        "dataset_defs",
    ),
    ("orchestration.build", "cli_output", "scaffold", "compile_kernels"),
    ("DEFINITIONS", "demo"),
    ("cli",),
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
PACKAGES = {"reformatters_dagster", CORE, ORCHESTRATION}
ENVIRONMENT = {"os.environ", "os.getenv"}
# The encoder only hands it on to its child.
READ_THE_ENVIRONMENT = {
    f"{ORCHESTRATION}.resources",
    "reformatters_dagster.cli",
    "reformatters_dagster.sample_upstream.encoder",
}
ECCODES_CHILDREN = ("reformatters_dagster.sample_upstream.eccodes_child", "tests.eccodes_child")

type House = dict[str, ast.Module]


def parse(root: Path, *tops: str) -> House:
    """Every module under the named folders, by its dotted name."""
    paths = sorted(path for top in tops for path in (root / top).rglob("*.py"))
    names = [".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return {name: ast.parse(path.read_text(), str(path)) for name, path in zip(names, paths, strict=True)}


def room(module: str) -> str:
    """One provider, or the sample upstream, whose modules may import each other; else the module itself."""
    parts = module.split(".")
    if parts[0] == "dataset_defs" and parts[2:] != ["definitions"]:
        return ".".join(parts[:2])
    return ".".join(parts[:2]) if parts[1:2] == ["sample_upstream"] else module


def floor(module: str) -> int | None:
    """Its number in FLOORS, -1 for a package that only holds others, None for a module that has none."""
    if module in PACKAGES:
        return -1
    name = room(module).removeprefix("reformatters_dagster.")
    if name.startswith("dataset_defs."):
        name = "DEFINITIONS" if name.endswith(".definitions") else "PROVIDER"
    return FLOOR.get(name)


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
    datasets = module.startswith("dataset_defs") and floor(module) != FLOOR["DEFINITIONS"]
    if not top:
        return "write the full name"
    if (top in {"eccodes", "gribapi"} or target.startswith(ECCODES_CHILDREN)) and module not in ECCODES_CHILDREN:
        return "only the child processes that encode hold ecCodes, which crashes beside pygrib"
    if (datasets or module.startswith(CORE)) and top.split("_")[0] in {"dagster", "kubernetes"}:
        return "orchestration is the only code that knows Dagster"
    if module.startswith(ORCHESTRATION) and top == "dataset_defs":
        return "only a provider's definitions join its datasets and Dagster"
    if module.startswith(ORCHESTRATION) and target == "__future__.annotations":
        return "Dagster reads annotations as values"
    if target in ENVIRONMENT and module not in READ_THE_ENVIRONMENT:
        return f"only {sorted(READ_THE_ENVIRONMENT)} read the environment"
    return None


def violations(root: Path) -> Iterator[str]:
    house = parse(root, "reformatters_dagster", "dataset_defs")
    for module, tree in house.items():
        height = floor(module)
        if height is None:
            yield f"{module} is on no floor: add it to FLOORS in tests/test_floors.py, above all that it imports"
            continue
        for target in dotted_imports(tree):
            if reason := sealed(module, target):
                yield f"{module} imports {target}: {reason}"
            there = target if target in house else target.rpartition(".")[0]
            below = floor(there) if there in house and room(there) != room(module) else None
            if below is not None and below >= height:
                yield f"{module} (floor {height}) imports {there} (floor {below}): imports point to a lower floor only"


def test_imports_point_down_and_sealed_doors_stay_shut() -> None:
    found = sorted(set(violations(ROOT)))
    assert not found, "\n".join(found)


def test_no_test_brings_eccodes_into_the_process_of_pygrib() -> None:
    refused = [
        (m, t, sealed(m, t)) for m, tree in parse(ROOT, "tests").items() for t in dotted_imports(tree) if "eccodes" in t
    ]
    assert [row for row in refused if row[2]] == []


def test_every_room_of_the_table_is_built() -> None:
    house = parse(ROOT, "reformatters_dagster", "dataset_defs")
    built = {room(module).removeprefix("reformatters_dagster.") for module in house}
    assert set(FLOOR) - {"PROVIDER", "DEFINITIONS"} - built == set()


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        (
            "reformatters_dagster/core/region.py",
            "def f():\n    from reformatters_dagster.core import dataset",
            "dataset (floor",
        ),
        (
            "reformatters_dagster/core/grib.py",
            "if TYPE_CHECKING:\n    import reformatters_dagster.core.shards",
            "shards (floor",
        ),
        ("reformatters_dagster/core/__init__.py", "from reformatters_dagster.core.shards import write", "(floor -1)"),
        ("reformatters_dagster/core/grib.py", "from .region import x", "write the full name"),
        ("reformatters_dagster/core/utils.py", "", "is on no floor: add it to FLOORS"),
        ("reformatters_dagster/core/grib.py", "import dagster_k8s", "the only code that knows Dagster"),
        ("reformatters_dagster/core/grib.py", "import os\nos.environ.get('HOME')", "read the environment"),
        ("reformatters_dagster/core/grib.py", "from os import getenv", "read the environment"),
        ("reformatters_dagster/core/grib.py", "def f():\n    import eccodes", "only the child process"),
        (
            "reformatters_dagster/orchestration/assets.py",
            "from dataset_defs.noaa.gfs import forecast",
            "join its datasets",
        ),
        ("reformatters_dagster/orchestration/assets.py", "from __future__ import annotations", "annotations as values"),
        (
            "dataset_defs/ecmwf/ifs/forecast.py",
            "from dataset_defs.noaa.gfs import forecast",
            "dataset_defs.noaa.gfs.forecast (floor",
        ),
        ("dataset_defs/ecmwf/ifs/forecast.py", "import dagster as dg", "the only code that knows Dagster"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, path: str, source: str, found: str) -> None:
    neighbours = (
        "reformatters_dagster/core/dataset.py",
        "reformatters_dagster/core/shards.py",
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
