"""Pin every version of the environment in pyproject.toml, since uv.lock is not committed.

In: uv.lock, or with `--upgrade` the newest versions the dependencies allow. Out: `constraint-dependencies` of
`[tool.uv]`, and with `--upgrade` its `build-constraint-dependencies`. With `--check` nothing is written; exit 1 when
a pin differs from uv.lock.

After a change of dependencies: `uv run python tools/pin.py`.
To move to newer versions: `uv run --no-project python tools/pin.py --upgrade`, then `uv sync`.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNTIME, BUILD = "constraint-dependencies", "build-constraint-dependencies"
# hatchling asks for it only while it builds an editable install.
EDITABLE_BUILD = "editables"


def uv(*arguments: str, stdin: str = "") -> str:
    """Run uv on this interpreter, away from the project's own settings, and return what it prints."""
    command = [os.environ.get("UV", "uv"), *arguments, "--python", sys.executable]
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, text=True, check=True).stdout


def locked_pins(lock: str) -> list[str]:
    """`name==version` of every locked package; one locked in several versions carries each one's markers."""
    packages = [package for package in tomllib.loads(lock)["package"] if "registry" in package["source"]]
    names = [package["name"] for package in packages]
    pins = []
    for package in packages:
        markers = " or ".join(f"({marker})" for marker in package.get("resolution-markers", []))
        several = names.count(package["name"]) > 1
        pins.append(f"{package['name']}=={package['version']}" + (f" ; {markers}" if several else ""))
    return sorted(pins)


def with_pins(pyproject: str, key: str, pins: list[str]) -> str:
    """The text of pyproject.toml with the array `key` of `[tool.uv]` replaced."""
    array = f"{key} = [\n" + "".join(f'    "{pin}",\n' for pin in pins) + "]\n"
    replaced, arrays = re.subn(rf"^{key} = \[\n.*?^\]\n", array, pyproject, flags=re.DOTALL | re.MULTILINE)
    if arrays != 1:
        sys.exit(f"pyproject.toml holds {arrays} arrays `{key}`, expected one with `[` and `]` at the ends of lines")
    return replaced


def upgraded(pyproject: str) -> str:
    """The text of pyproject.toml pinned to what a resolution free of its pins gives."""
    unpinned = with_pins(with_pins(pyproject, RUNTIME, []), BUILD, [])
    requirements = "\n".join([*tomllib.loads(pyproject)["build-system"]["requires"], EDITABLE_BUILD])
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pyproject.toml").write_text(unpinned)
        uv("lock", "--project", folder)
        lock = Path(folder, "uv.lock").read_text()
        build = uv("pip", "compile", "--project", folder, "--no-header", "--no-annotate", "-", stdin=requirements)
    return with_pins(with_pins(pyproject, RUNTIME, locked_pins(lock)), BUILD, build.split("\n")[:-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--upgrade", action="store_true", help="pin the newest versions that fit, not those of uv.lock")
    mode.add_argument("--check", action="store_true", help="write nothing; fail when a pin differs from uv.lock")
    arguments = parser.parse_args()

    path = ROOT / "pyproject.toml"
    before = path.read_text()
    lock = ROOT / "uv.lock"
    after = upgraded(before) if arguments.upgrade else with_pins(before, RUNTIME, locked_pins(lock.read_text()))
    if not arguments.check:
        path.write_text(after)
    elif after != before:
        sys.exit("pyproject.toml does not pin the versions of uv.lock; run `uv run python tools/pin.py` and commit")


if __name__ == "__main__":
    main()
