"""Every test of the simulator."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of runs would log what they do."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
