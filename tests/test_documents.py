"""Documents say what there is: every block of code is run by a test, or it is told why not; every command is one that exists."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt

from tools.reference import commands

if TYPE_CHECKING:
    from typer.core import TyperCommand

ROOT = Path(__file__).parents[1]
PROVIDERS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "dataset_defs").glob("*/README.md"))
PAGES = [
    *(
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "benchmarks/README.md",
        "helm/README.md",
        "helm/TRIAL.md",
        *PROVIDERS,
    ),
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")),
]
NO_CODE = {"", "mermaid", "text"}
"""Languages of blocks that show, and tell nobody what to type."""

CLUSTER = "by hand, on a cluster: helm/README.md has what it printed"
LONG = "takes longer than a test may; its options are parsed"
BY: dict[tuple[str, str], str] = {
    ("README.md", "pip install uv"): ".ci/run",
    (
        "README.md",
        ". data/demo/env && uv run dg dev",
    ): "a server that does not end; its three code locations load in tests/test_demo.py",
    ("README.md", "from pathlib import Path"): "tests/pictures/test_readme.py",
    (
        "README.md",
        "import xarray as xr",
    ): "a bucket of the reader's; tests/orchestration/test_pages.py runs the same lines of the pages",
    ("README.md", ". data/demo/env"): "needs the demo's store; tests/cli runs each command on another one",
    ("README.md", "export REFORMATTERS_STORE="): "asks the real archive; tests/cli runs it on a sample",
    ("CONTRIBUTING.md", "pip install uv"): ".ci/run",
    ("CONTRIBUTING.md", "uv run dg check"): "tests/orchestration/test_dg.py",
    ("CONTRIBUTING.md", "uv run ruff check"): ".ci/run",
    ("benchmarks/README.md", "uv run"): LONG,
    ("helm/README.md", "docker build"): CLUSTER,
    ("helm/README.md", "image:"): "tests/helm/test_values.py",
    ("helm/README.md", "helm install"): CLUSTER,
    ("helm/README.md", "$"): CLUSTER,
    ("helm/TRIAL.md", ""): CLUSTER,
    ("docs/api.md", ""): "tests/test_facade.py",
    ("docs/reading.md", ""): "tests/test_reading_page.py",
    (
        "docs/dataset_integration_guide.md",
        "uv run reformat new-dataset",
    ): "tests/test_scaffold.py makes another dataset in the same way",
    ("docs/dataset_integration_guide.md", ""): "tests/test_scaffold.py makes another dataset; its options are parsed",
    ("docs/operations.md", "ops:"): "tests/orchestration/test_run_config.py",
    ("docs/operations.md", "pg_dump"): "tests/operations/test_postgres.py",
    ("docs/operations.md", "dropdb"): "tests/operations/test_postgres.py",
    ("docs/operations.md", "createdb"): "tests/operations/test_postgres.py",
    ("docs/operations.md", "aws s3 sync s3://OLD"): "tests/operations/test_move.py",
    ("docs/operations.md", "aws s3 sync PRIMARY"): "a program of the reader's; its order is that of the next",
    ("docs/operations.md", "uv export"): "asks a service that knows vulnerable versions",
    ("docs/reliability.md", ""): "minutes long; tests/simulation runs the same simulator",
}
"""Who runs a block, by its page and how it begins: a file of the repository, or why nobody does."""


@dataclass(frozen=True)
class Block:
    page: str
    language: str
    code: str

    @property
    def by(self) -> str | None:
        """Who runs it: the entry with the longest beginning."""
        fitting = [one for one in BY if one[0] == self.page and self.code.startswith(one[1])]
        return BY[max(fitting, key=lambda one: len(one[1]))] if fitting else None

    def __str__(self) -> str:
        return f"{self.page}: {self.code.splitlines()[0]}"


def _blocks() -> list[Block]:
    tokens = {page: MarkdownIt().parse((ROOT / page).read_text()) for page in PAGES}
    return [
        Block(page, token.info.strip(), token.content)
        for page, found in tokens.items()
        for token in found
        if token.type == "fence" and token.info.strip() not in NO_CODE
    ]


BLOCKS = _blocks()


def test_every_block_is_run_or_it_is_told_why_not() -> None:
    assert [str(block) for block in BLOCKS if block.by is None] == []
    used = {block.by for block in BLOCKS}
    assert [key for key, by in BY.items() if by not in used] == [], "blocks that are gone"


def test_the_files_that_run_them_are_there_and_name_the_page() -> None:
    for block in BLOCKS:
        by = block.by or ""
        if by.startswith("tests/") and " " not in by:
            text = (ROOT / by).read_text()
            pages = [one.read_text() for one in (ROOT / by).parent.glob("*page.py") if one.stem in text]
            assert any(Path(block.page).name in one for one in (text, *pages)), f"{by} does not read {block.page}"


def _commands_of(block: Block) -> list[list[str]]:
    lines = block.code.replace("\\\n", " ").splitlines()
    called = [
        re.split(r"\breformat\s+", line.removeprefix("$ "), maxsplit=1)[1]
        for line in lines
        if re.match(r"^(\$ )?(uv run )?reformat\s", line)
    ]
    return [shlex.split(re.split(r"\s(?:\||>|#|&&)\s?", one)[0]) for one in called]


CALLS = [
    (str(block), words) for block in BLOCKS if block.language in {"sh", "console"} for words in _commands_of(block)
]


@pytest.mark.parametrize(("page", "words"), CALLS, ids=[" ".join(words) for _, words in CALLS])
def test_every_command_is_one_that_exists(page: str, words: list[str]) -> None:
    name, *arguments = words
    command: TyperCommand = commands()[name]
    command.make_context(name, arguments)


def test_every_variable_that_the_code_reads_is_a_setting_that_is_told() -> None:
    """`REFORMATTERS_…` in code, and the first column of the tables of docs/operations.md."""
    code = [path.read_text() for path in (ROOT / "reformatters_dagster").rglob("*.py")]
    named = set(re.findall(r"\bREFORMATTERS_[A-Z_]+\b", "\n".join(code)))
    page = (ROOT / "docs/operations.md").read_text()
    assert sorted(name for name in named if name not in page) == []
