"""Random numbers that depend on the seed and on a name only.

Whatever is left out of a simulation, the rest draws the same numbers: that is what lets a failing seed be shrunk.
"""

from random import Random


def chance(seed: int, *name: object) -> Random:
    """A source of numbers of its own."""
    return Random("/".join(map(str, (seed, *name))))
