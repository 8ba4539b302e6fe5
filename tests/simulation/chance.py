"""Random numbers that depend on the seed and on a name only.

Whatever is left out of a simulation, the rest draws the same numbers: that is what lets a failing seed be shrunk.
"""

from hashlib import blake2b
from random import Random


def chance(seed: int, *name: object) -> Random:
    """A source of numbers of its own."""
    return Random("/".join(map(str, (seed, *name))))


def lot(seed: int, *name: object) -> float:
    """One number between 0 and 1, for what is asked tens of thousands of times."""
    digest = blake2b("/".join(map(str, (seed, *name))).encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48
