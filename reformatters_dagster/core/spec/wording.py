"""Parts of messages for people: how long something takes, how large it is, which name may have been meant.

In: values. Out: words.
"""

from collections.abc import Collection, Sequence
from difflib import get_close_matches

from reformatters_dagster.core.spec.values import Timedelta, Timestamp

_UNITS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}


def spell_duration(duration: Timedelta) -> str:
    """A duration in its largest unit and the next smaller one, in whole numbers: `6 h`, `1 min 34 s`, `60 d`."""
    rest = abs(duration) // Timedelta("1s")
    counts = {}
    for unit, seconds in _UNITS.items():
        counts[unit], rest = divmod(rest, seconds)
    largest = next((at for at, count in enumerate(counts.values()) if count), len(counts) - 1)
    told = [f"{count} {unit}" for unit, count in list(counts.items())[largest : largest + 2] if count]
    return f"{'-' if duration < Timedelta(0) and told else ''}{' '.join(told) or '0 s'}"


def spell_label(label: object) -> str:
    """A label of any dimension: `2026-07-29T18:00`, `6 h`, or as it is."""
    if isinstance(label, Timedelta):
        return f"{label / Timedelta('1h'):g} h"
    return f"{label:%Y-%m-%dT%H:%M}" if isinstance(label, Timestamp) else str(label)


def spell_count(number: int, what: str) -> str:
    """How many there are of something whose plural ends in s: `1 file`, `1,024 files`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def spell_variables(names: Sequence[str], of: int) -> str:
    """Some variables of a dataset that has so many."""
    return "all variables" if len(names) == of > 1 else ", ".join(names)


def spell_bytes(count: float) -> str:
    """A number of bytes in three digits and a decimal unit: `999 B`, `6.15 MB`, `21.7 GB`, `1.23 TB`."""
    size, unit = count, "B"
    for larger in ("kB", "MB", "GB", "TB"):
        # What would be rounded to four digits belongs to the next unit.
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    decimals = 0 if unit == "B" or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:.{decimals}f} {unit}"


def did_you_mean(asked: Collection[str], known: Collection[str]) -> str:
    """A question at the end of a refusal that has named what is known; empty where nothing known is similar."""
    guesses = [guess for name in asked for guess in get_close_matches(name, known, n=1)]
    return f": did you mean {' and '.join(repr(guess) for guess in dict.fromkeys(guesses))}?" if guesses else ""
