"""Digests of every object of the stores below a folder, to hold a change against the code before it.

A change that is to leave stores as they are is proven by running this before and after, on two checkouts:

    mkdir before
    uv run pytest -n 0 tests/dataset_defs -m "not network" --basetemp before/tests
    uv run reformat demo --folder before/demo
    uv run python -m tests.digests before > before.json
    … the same in the other checkout …
    uv run python -m tests.digests --compare before.json after.json

Both within one forecast cycle of 6 hours: stores that are made through Dagster, and the demo, reach up to the current time.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

type Digests = dict[str, dict[str, str]]


def digests_below(folder: Path) -> Digests:
    """For every published store, SHA-256 of each of its objects by key; stores are named by their path below `folder`."""
    roots = sorted(path.parent for path in folder.rglob("zarr.json") if path.parent.name.startswith("v"))
    return {
        root.relative_to(folder).as_posix(): {
            path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }
        for root in roots
        if root.suffix == ".zarr"
    }


def differences(before: Digests, after: Digests) -> list[str]:
    """A line for each store and each object that is not the same in both; stores that only `after` has do not count."""
    found = []
    for store, objects in before.items():
        if store not in after:
            found.append(f"{store}: is gone")
            continue
        keys = sorted(objects.keys() | after[store].keys())
        found += [f"{store}: {key} differs" for key in keys if objects.get(key) != after[store].get(key)]
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("BEFORE", "AFTER"))
    given = parser.parse_args(arguments)
    if given.compare is None:
        if given.folder is None:
            parser.error("give a folder, or two files to --compare")
        sys.stdout.write(json.dumps(digests_below(given.folder), indent=1) + "\n")
        return 0
    before, after = (json.loads(path.read_text()) for path in given.compare)
    lines = differences(before, after)
    objects = sum(len(store) for store in before.values())
    sys.stdout.write("\n".join([*lines, f"{len(before)} stores, {objects} objects, {len(lines)} differences"]) + "\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
