"""Words that the messages of checks share. In: names, labels, shares. Out: text."""

from collections.abc import Sequence

from reformatters_dagster.core.spec.values import Timestamp


def listed(words: Sequence[str], between: str = ", ", most: int = 4) -> str:
    """The first few words, then how many more there are."""
    shown = between.join(words[:most])
    return shown if len(words) <= most else f"{shown}{between}and {len(words) - most} more"


def quoted(names: Sequence[str]) -> str:
    return listed([repr(name) for name in names])


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def text_of(time: Timestamp) -> str:
    """A label as checks write it."""
    return f"{time:%Y-%m-%dT%H:%M}"


def degrees(value: float, positive: str, negative: str) -> str:
    """A latitude or longitude.

    >>> degrees(-12.5, "N", "S")
    '12.5 S'
    """
    return f"{abs(value):.6g} {negative if value < 0 else positive}"
