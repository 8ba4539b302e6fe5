"""A throw-away Postgres that asks for a password, for tests, where one can be started.

A test module that asks for the fixture says `pytest_plugins = ["tests.postgres"]`; it has imported this one by then,
hence PYTEST_DONT_REWRITE.
"""

from collections.abc import Iterator

import pytest

from benchmarks.postgres import Postgres, programs, throw_away_postgres

PASSWORD = "planted-postgres-password"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    if programs() is None:
        pytest.skip("this machine has no Postgres, and no wheel brings one")
    with throw_away_postgres(password=PASSWORD) as server:
        yield server
