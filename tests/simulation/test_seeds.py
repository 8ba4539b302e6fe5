"""The seeds that every push runs: they take about three minutes, and keep every promise."""

import pytest

from tests.simulation.world import simulate

LAST, BLOCK = 120, 10
LEFT_OUT: dict[str, tuple[int, ...]] = {}
"""Seeds that break a promise by what is open, by what that is."""
OPEN = tuple(seed for seeds in LEFT_OUT.values() for seed in seeds)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, LAST + 1, BLOCK))
def test_seeds_keep_every_promise(first: int) -> None:
    outcomes = [simulate(seed) for seed in range(first, first + BLOCK) if seed not in OPEN]
    assert [str(outcome) for outcome in outcomes if outcome.broken] == []
    assert sum(outcome.runs for outcome in outcomes) > 10 * len(outcomes)


@pytest.mark.slow
def test_seeds_that_are_left_out_break() -> None:
    held = [seed for seed in OPEN if not simulate(seed).broken]
    assert held == [], "take them out of LEFT_OUT"


@pytest.mark.slow
def test_seeds_keep_every_promise_with_real_codecs() -> None:
    outcomes = [simulate(seed, codecs=True) for seed in range(201, 205)]
    assert [str(outcome) for outcome in outcomes if outcome.broken] == []


@pytest.mark.slow
def test_a_seed_is_the_same_with_real_codecs() -> None:
    quick, real = (simulate(205, trace=True, codecs=codecs) for codecs in (False, True))
    assert quick.trace == real.trace
