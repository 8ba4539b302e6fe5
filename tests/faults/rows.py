"""Rows of a fault test that has one for every put."""

import pytest
from _pytest.mark import ParameterSet

STRIDE = 6


def after_each(puts: int) -> list[ParameterSet]:
    """`puts` numbers from 0 on; CI runs every sixth and the last, all others are `exhaustive`."""
    return [
        pytest.param(number, marks=[] if number % STRIDE == 0 or number == puts - 1 else [pytest.mark.exhaustive])
        for number in range(puts)
    ]
