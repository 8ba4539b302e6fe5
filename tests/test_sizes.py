"""Nothing is longer than a reader can hold: modules, classes, functions, test modules."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE, TEST_MODULE, CLASS, FUNCTION = 450, 500, 250, 60


def too_long(root: Path, *tops: str) -> Iterator[str]:
    """What of the modules below some folders has more lines than it may, docstrings included."""
    for path in sorted(path for top in tops for path in (root / top).rglob("*.py")):
        name, text = path.relative_to(root).as_posix(), path.read_text()
        most, lines = TEST_MODULE if name.startswith("tests/") else MODULE, len(text.splitlines())
        if lines > most:
            yield f"{name} has {lines} lines, {most} at most: split it along the way of the data"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                most = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > most:
                    yield f"{name}:{node.lineno} {node.name} has {lines} lines, {most} at most"


def test_nothing_is_too_long() -> None:
    found = list(too_long(ROOT, "reformatters_dagster", "dataset_defs", "benchmarks", "tools", "tests"))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("core/a.py", "x = 1\n" * 451, "core/a.py has 451 lines, 450 at most"),
        ("tests/a.py", "x = 1\n" * 500, None),
        ("tests/a.py", "x = 1\n" * 501, "tests/a.py has 501 lines, 500 at most"),
        ("core/a.py", "def f():\n" + "    x = 1\n" * 60, "core/a.py:1 f has 61 lines, 60 at most"),
        ("core/a.py", "class A:\n" + "    x = 1\n" * 250, "core/a.py:1 A has 251 lines, 250 at most"),
        ("core/a.py", "def f():\n" + "    x = 1\n" * 59, None),
    ],
)
def test_what_is_too_long_is_found(tmp_path: Path, path: str, source: str, found: str | None) -> None:
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).write_text(source)
    lines = list(too_long(tmp_path, "core", "tests"))
    assert len(lines) == (found is not None)
    assert found is None or lines[0].startswith(found)
