"""Fixed seeds of the simulator, and what the simulator itself must be: the same each time, and able to find what is broken."""

import logging

import pytest

from tests.simulation.faults import Families
from tests.simulation.world import simulate


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


def test_nothing_breaks_where_nothing_goes_wrong() -> None:
    outcome = simulate(1, families=Families())
    assert not outcome.broken
    assert outcome.runs >= 20


def test_a_seed_is_the_same_each_time() -> None:
    one, two = (simulate(4, trace=True) for _ in range(2))
    assert one.trace == two.trace
