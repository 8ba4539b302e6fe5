"""A new dataset, copied from an example under other names.

In: the folder of a checkout, the words of a dataset id, and which index the source has. Out: a definition, its template, its
facts and its tests, all of which pass as they are, and the lines that register them.
"""

import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reformatters_dagster.core.spec.errors import DatasetExists, NotACheckout, UnusableName

_PROVIDER = re.compile(r"[a-z][a-z0-9]*")
_WORDS = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
# For an id up to this, every line that is copied keeps its length and its formatting; a Kubernetes label takes no more either.
_LONGEST = 63
_RESERVED = {"example", "facts", "definitions"}
_DATASETS, _TESTS = Path("dataset_defs"), Path("tests/dataset_defs")
_REGISTER, _WORKSPACE = _DATASETS / "__init__.py", Path("workspace.yaml")
_END_OF_TABLE = re.compile(r'^MODULES = \(\n(?P<lines>(?: {4}"[\w.]+",\n)*)\)', re.MULTILINE)


@dataclass(frozen=True)
class DatasetName:
    """The words a dataset is named by.

    Attributes
    ----------
    provider, model, variant : str
        Lower-case letters and digits; hyphens within model and variant. `dwd`, `icon-eu`, `forecast-5-day`.

    Raises
    ------
    UnusableName
        When one of them would not do as part of an id, a module and a Dagster name, or they are too long together.
    """

    provider: str
    model: str
    variant: str

    def __post_init__(self) -> None:
        for what, name, pattern in (
            ("provider", self.provider, _PROVIDER),
            ("model", self.model, _WORDS),
            ("variant", self.variant, _WORDS),
        ):
            if not pattern.fullmatch(name):
                hyphens = "" if pattern is _PROVIDER else ", single hyphens between them"
                raise UnusableName(
                    f"{what} {name!r} was given; it must be lower-case letters and digits{hyphens}, and begin with a letter"
                )
            if keyword.iskeyword(name) or name in _RESERVED:
                raise UnusableName(
                    f"{what} {name!r} was given; that word is taken by Python or by this project: use another"
                )
        if len(self.dataset_id) > _LONGEST:
            raise UnusableName(
                f"dataset {self.dataset_id!r} was to be made; its id has {len(self.dataset_id)} characters, at most "
                f"{_LONGEST} are possible: use shorter words"
            )

    @property
    def dataset_id(self) -> str:
        return f"{self.provider}-{self.model}-{self.variant}"

    @property
    def identifier(self) -> str:
        return _identifier(self.dataset_id)

    @property
    def module(self) -> str:
        return f"dataset_defs.{self.provider}.{_identifier(self.model)}.{_identifier(self.variant)}"

    @property
    def test(self) -> str:
        """Module of its own tests."""
        return f"test_{_identifier(self.model)}_{_identifier(self.variant)}"

    @property
    def title(self) -> str:
        return f"{self.provider.upper()} {self.model.upper()} {self.variant.replace('-', ' ')}"

    @property
    def class_prefix(self) -> str:
        return "".join(word.capitalize() for word in f"{self.model}-{self.variant}".split("-"))


PLACEHOLDERS = (
    "What a new dataset starts from.",
    "Say who made the data, and where it was taken from.",
    "Say what its licence is.",
    "example.org",
)
"""Texts of the examples that a dataset must replace by its own before anybody sees it."""

Index = Literal["noaa", "ecmwf", "none"]
"""What lies beside a file of the source: an `.idx` as NOAA has it, an `.index` as ECMWF has it, or nothing."""
type Words = tuple[str, str, str]

EXAMPLES: Mapping[Index, Words] = {
    "noaa": ("example", "idx", "forecast"),
    "ecmwf": ("example", "mars", "forecast"),
    "none": ("example", "weather", "forecast"),
}


def scaffold_dataset(root: Path, name: DatasetName, index: Index = "none") -> list[Path]:
    """Copy an example to a dataset of another name, and register it.

    Parameters
    ----------
    root : Path
        The checkout.
    name : DatasetName
    index : Index
        Which example: the one whose source has such an index.

    Returns
    -------
    list of Path
        What was written or changed, relative to `root`.

    Raises
    ------
    NotACheckout
        When the example is not there.
    DatasetExists
        When the dataset, or one of its files, is there. Nothing is written then.
    """
    contents = _copies(root, EXAMPLES[index], name)
    # A package beside a module of its name would hide it.
    hidden = _DATASETS / name.provider / f"{_identifier(name.model)}.py"
    if taken := sorted(str(path) for path in [*contents, hidden] if (root / path).exists()):
        raise DatasetExists(
            f"dataset {name.dataset_id!r} was to be made; {taken[0]} is there already, and nothing was written: use another "
            "name, or remove what is there"
        )
    changes = _packages(root, name) | _registrations(root, name)
    for path, content in (contents | changes).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return sorted(contents | changes)


def placeholders_in(*texts: str | None) -> list[str]:
    """Texts of the examples that stand in some texts still."""
    return [placeholder for placeholder in PLACEHOLDERS if any(placeholder in (text or "") for text in texts)]


def _copies(root: Path, example: Words, name: DatasetName) -> dict[Path, bytes]:
    """Files of the example under the new names."""
    provider, model, variant = example
    example_id = "-".join(example)
    template = root / "templates" / example_id / "latest.zarr"
    definition = root / _DATASETS / provider / model / f"{variant}.py"
    if not (definition.exists() and template.is_dir()):
        raise NotACheckout(
            f"a dataset was to be made from the example; {definition} or {template} is not there: run this in a checkout of "
            "the project, installed as `uv sync` does it"
        )
    places = {
        definition: Path(*name.module.split(".")).with_suffix(".py"),
        root / _TESTS / provider / f"test_{model}_{variant}.py": _TESTS / name.provider / f"{name.test}.py",
        root / _TESTS / "facts" / f"{_identifier(example_id)}.py": _TESTS / "facts" / f"{name.identifier}.py",
    }
    for path in template.rglob("*"):
        if path.is_file():
            places[path] = Path("templates") / name.dataset_id / path.relative_to(template.parent)
    return {to: _renamed(at.read_bytes(), at.suffix, example, name) for at, to in places.items()}


def _renamed(content: bytes, suffix: str, example: Words, name: DatasetName) -> bytes:
    if suffix not in {".py", ".json"}:
        return content
    provider, model, variant = example
    names = {
        f"dataset_defs.{provider}.{model}.{variant}": name.module,
        "-".join(example): name.dataset_id,
        " ".join(example).capitalize(): name.title,
        f"{model}-{variant}".title().replace("-", ""): name.class_prefix,
    }
    text = content.decode()
    for old, new in names.items():
        text = text.replace(old, new)
    return text.encode()


def _packages(root: Path, name: DatasetName) -> dict[Path, bytes]:
    """Packages, code location and notes of a provider or model that has none yet."""
    provider = name.provider.upper()
    texts = {
        _DATASETS / name.provider / "__init__.py": f'"""{provider}."""\n',
        _DATASETS
        / name.provider
        / _identifier(name.model)
        / "__init__.py": f'"""{provider} {name.model.upper()}."""\n',
        _DATASETS / name.provider / "README.md": f"# {provider}\n\n## Where files are\n\n## Quirks\n",
        _DATASETS / name.provider / "definitions.py": (
            f'"""The code location of {provider}\'s datasets."""\n\n'
            "from dataset_defs import PROVIDERS, of_provider\n"
            "from reformatters_dagster.orchestration.build import build_definitions\n\n"
            f'defs = build_definitions(of_provider("{name.provider}"), among=PROVIDERS)\n'
        ),
        _TESTS / name.provider / "__init__.py": "",
    }
    return {path: text.encode() for path, text in texts.items() if not (root / path).exists()}


def _registrations(root: Path, name: DatasetName) -> dict[Path, bytes]:
    """The table of datasets and the workspace, with a line more."""
    register, workspace = (root / _REGISTER).read_text(), (root / _WORKSPACE).read_text()
    table = _END_OF_TABLE.search(register)
    if table is None:
        raise NotACheckout(f"{_REGISTER} was to hold a table MODULES, one module on each line; it does not: restore it")
    line = f'    "{name.module}",\n'
    lines = "".join(sorted({*table["lines"].splitlines(keepends=True), line}))
    changed = {_REGISTER: register[: table.start("lines")] + lines + register[table.end("lines") :]}
    location = f"dataset_defs.{name.provider}.definitions"
    if f"module_name: {location}\n" not in workspace:
        entry = f"  - python_module:\n      module_name: {location}\n      location_name: {location}\n"
        changed[_WORKSPACE] = workspace + entry
    return {path: text.encode() for path, text in changed.items()}


def _identifier(words: str) -> str:
    return words.replace("-", "_")
