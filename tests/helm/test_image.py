"""The Dockerfile, held against what it names. Nothing here builds it: no test has a container engine."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import numpy as np
import pytest

from reformatters_dagster.core.grib.second_decoder import Box, SecondDecoder, SecondReading
from tests.core.grib.real_messages import HRRR, MEMBER, TMP_2M, messages_of
from tests.helm.rendered import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_it_copies_what_there_is_and_what_the_context_holds() -> None:
    context = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name for names in re.findall(r"^COPY ([^-].*) \S+$", DOCKERFILE, re.MULTILINE) for name in names.split()}
    assert copied == context
    assert all((ROOT / name).exists() for name in copied)
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert copied >= {*packages, "pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}


def test_what_it_leaves_out_is_locked_and_needed_by_the_demo_alone_or_there_twice() -> None:
    """A package that another needs would break the image: only those that are left out may need one that is.

    But for the library of ecCodes: `eccodes` finds that of pygrib, where the environment says.
    """
    left_out = set(re.findall(r"--no-install-package (\S+)", DOCKERFILE))
    assert {"eccodeslib", "matplotlib"} <= left_out
    for line in (
        "ECCODES_DIR=/app/.venv/eccodes",
        "ECCODES_DEFINITION_PATH=/app/.venv/lib/python3.13/site-packages/pygrib",
    ):
        assert line in DOCKERFILE.rpartition("\nFROM ")[2]
    locked = {pin.partition("==")[0] for pin in PROJECT["tool"]["uv"]["constraint-dependencies"]}
    assert left_out <= locked
    direct = {re.split(r"[^A-Za-z0-9-]", need)[0] for need in PROJECT["project"]["dependencies"]}
    seen, waiting = set[str](), direct - left_out
    while waiting:
        name = waiting.pop()
        seen.add(name)
        assert name not in left_out, f"{name} is left out of the image and needed there"
        waiting |= required_by(name) - seen - ({"eccodeslib"} if name == "eccodes" else set())


def required_by(name: str) -> set[str]:
    """What an installed distribution needs without extras."""
    try:
        needs = distribution(name).requires or []
    except PackageNotFoundError:
        return set()
    plain = [need for need in needs if "extra ==" not in need]
    return {re.split(r"[^A-Za-z0-9._-]", need)[0].lower().replace("_", "-") for need in plain}


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """An environment `.venv` as `uv sync` leaves it, of which ecCodes for Python and pygrib's library and tables are copies."""
    here = Path(str(distribution("eccodes").locate_file("")))
    packages = tmp_path / ".venv/lib/python3.13/site-packages"
    for name in ("eccodes", "gribapi", "findlibs", "pygrib.libs"):
        shutil.copytree(here / name, packages / name)
    tables = packages / "pygrib/share/eccodes/definitions"
    tables.mkdir(parents=True)
    for entry in (here / tables.relative_to(packages)).iterdir():
        if entry.name in {"bufr", "taf", "metar"}:
            (tables / entry.name).mkdir()
        else:
            (tables / entry.name).symlink_to(entry)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return tmp_path


@pytest.mark.usefixtures("shared_data")
def test_with_what_it_deletes_and_links_pygribs_ec_codes_is_a_second_decoder(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [messages_of(path)[0][0] for path in (TMP_2M, MEMBER, HRRR)]
    before = [read(message) for message in messages]
    monkeypatch.setenv("FINDLIBS_DISABLE_PACKAGE", "yes")  # eccodeslib, which is not in the image
    (steps,) = re.findall(r"^RUN uv sync .*?[^\\]$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    _, *after_sync = steps.replace("\\\n", " ").replace("/app/", f"{installed}/").split("&&")
    subprocess.run(["sh", "-ec", "&&".join(after_sync)], cwd=installed, check=True)
    where = "import gribapi.bindings as found; print(found.library_path)"
    for name, value in re.findall(r"(ECCODES_\w+)=(\S+)", DOCKERFILE.rpartition("\nFROM ")[2]):
        monkeypatch.setenv(name, value.replace("/app/", f"{installed}/"))
    monkeypatch.setenv("PYTHONPATH", str(installed / ".venv/lib/python3.13/site-packages"))
    assert str(installed) in subprocess.check_output([sys.executable, "-c", where], text=True)
    for message, known in zip(messages, before, strict=True):
        again = read(message)
        assert again.words == known.words
        np.testing.assert_array_equal(again.latitude, known.latitude)
        np.testing.assert_array_equal(again.longitude, known.longitude)
        np.testing.assert_array_equal(again.values, known.values)


def read(message: bytes) -> SecondReading:
    with SecondDecoder() as decoder:
        return decoder.read([message], Box(-90.0, 90.0, 0.0, 180.0), "a real message")


def test_it_is_of_this_version_and_runs_as_the_user_of_the_chart() -> None:
    assert f"ARG VERSION={version('reformatters-dagster')}\n" in DOCKERFILE
    assert DOCKERFILE.rstrip().endswith("USER 1000:1000")
    assert "runAsUser: 1000" in (ROOT / "helm" / "templates" / "_helpers.tpl").read_text()
    assert "DAGSTER_HOME=/opt/dagster/dagster_home" in DOCKERFILE


def test_the_last_stage_has_no_installer_and_every_base_is_the_argument() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    assert [stage.split()[0] for stage in stages] == ["${BASE}", "${BASE}"]
    assert not re.search(r"\b(pip install|uv (sync|pip)|apt-get)", stages[-1])
    assert "rm -rf /usr/local/bin/pip*" in stages[-1]
