"""What another version of this project leaves in the internal location, for this one to read.

In: the bytes of a ledger entry or of a note. Out: the same with fields that this version does not know; or without those that an
older version did not know, where they say nothing.
"""

import json
from typing import Any

UNKNOWN = "of_a_later_version"
LATE = ("root_run", "upstream", "published", "retry", "known_missing", "implausible", "outdated", "beside", "doubtful")
"""Fields that came after the first version."""


def by_newer_version(data: bytes) -> bytes:
    """The object with unknown fields, at its top and in everything within it that has names."""
    document = json.loads(data)
    parts = [document, *document.get("missing_files", ()), *document.get("results", ())]
    parts += [one for one in document.get("variables", {}).values() if isinstance(one, dict)]
    for part in parts:
        part[UNKNOWN] = {"steps": [1, 2]}
    return json.dumps(document).encode()


def by_older_version(data: bytes) -> bytes:
    """The object without the fields that came late and say nothing, as an older version writes it."""
    document = json.loads(data)
    is_entry = "variables" in document
    for part in [document, *document.get("variables", {}).values()] if is_entry else []:
        for name in LATE:
            if name in part and (_says_nothing(part[name]) or name in {"root_run", "upstream"}):
                del part[name]
    if not is_entry and _says_nothing(document.get("implausible")):
        document.pop("implausible", None)
    return json.dumps(document).encode()


def _says_nothing(value: Any) -> bool:
    return value in (None, False, "", [], {})
