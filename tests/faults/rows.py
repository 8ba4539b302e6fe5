"""Rows of a fault test that has one for every put."""

from collections.abc import Sequence

import pytest
from _pytest.mark import ParameterSet

STRIDE = 6


def after_each(puts: int, stride: int = STRIDE) -> list[ParameterSet]:
    """`puts` numbers from 0 on; CI runs every `stride`-th and the last, all others are `exhaustive`."""
    return [
        pytest.param(number, marks=[] if _in_ci(number, puts, stride) else [pytest.mark.exhaustive])
        for number in range(puts)
    ]


def after_each_in_turn(puts: int, ways: Sequence[ParameterSet]) -> list[ParameterSet]:
    """Each number with each way; of the numbers that CI runs, one has the ways at even places, the next those at odd ones."""
    rows, turn = [], 0
    for number in range(puts):
        for at, way in enumerate(ways):
            marks = [] if _in_ci(number, puts, STRIDE) and at % 2 == turn % 2 else [pytest.mark.exhaustive]
            rows.append(pytest.param(number, *way.values, id=f"{number}-{way.id}", marks=marks))
        turn += _in_ci(number, puts, STRIDE)
    return rows


def _in_ci(number: int, puts: int, stride: int) -> bool:
    return number % stride == 0 or number == puts - 1
