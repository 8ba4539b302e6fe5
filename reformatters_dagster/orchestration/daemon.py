"""Dagster's daemon, one at a time: a second one waits until the first is gone, and then takes its place.

In: the arguments of `dagster-daemon`, as `python -m reformatters_dagster.orchestration.daemon run -w workspace.yaml`. Out: the
same, but `run` works only while it holds a lock of Postgres, and looks after runs that still start.

Two daemons of Dagster on one database launch partitions of a backfill twice: both look, then both submit. Kubernetes starts a
second one while the first still ends, or still lives on a node that cannot be reached. A storage other than Postgres belongs to
one machine; there nothing is held. The lock is one of a session: a connection pooler in front of Postgres must keep sessions.
"""

import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from threading import Event, Thread

import dagster as dg
from dagster_postgres import PostgresRunStorage
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from reformatters_dagster.orchestration.starting_runs import watched_starts

log = logging.getLogger(__name__)

LOCK = int.from_bytes(b"daemon")
"""Key of the lock in the database."""
LOOK = 2.0
"""Seconds between two looks: at a lock that another daemon holds, and at the own connection."""
PATIENCE = 30.0
"""Seconds that a look may take. It is less than what Postgres takes to give the lock away: see `KEEPALIVE`."""
KEEPALIVE = "SET tcp_keepalives_idle = 20; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 4"
"""Postgres gives the lock of a daemon that cannot be reached away after 40 s; its default is two hours."""
LOST = 75
"""Exit status of a daemon whose lock another has taken, or may take. Kubernetes starts it again, and it waits."""
OUT = (DBAPIError, DagsterPostgresException)

type Connect = Callable[[], AbstractContextManager[Connection]]


class Turn:
    """The right to work as the daemon of one database.

    Parameters
    ----------
    connect : callable
        Opens a connection that commits each statement by itself.
    end : callable
        Ends this process at once. Called when another daemon has taken the turn, or when nobody can tell: Postgres does not
        answer, and does not refuse either.
    look : float
        Seconds between two looks.
    patience : float
        Seconds that a look may take.
    """

    def __init__(
        self, connect: Connect, end: Callable[[], object], look: float = LOOK, patience: float = PATIENCE
    ) -> None:
        self._connect = connect
        self._end = end
        self._look = look
        self._patience = patience
        self._looked = 0.0
        self._session = ExitStack()
        self._connection: Connection | None = None
        self._released = Event()

    def take(self) -> None:
        """Wait for the turn, and keep it from then on."""
        if not self._try():
            log.warning("another daemon is at work on this database; this one waits until that one has ended")
            while not self._try():
                time.sleep(self._look)
            log.warning("the other daemon has ended; this one takes its place")
        self._looked = time.monotonic()
        Thread(target=self._keep, name="turn", daemon=True).start()
        Thread(target=self._watch, name="turn-watch", daemon=True).start()

    def release(self) -> None:
        """Let another daemon work."""
        self._released.set()
        self._session.close()

    def _try(self) -> bool:
        """Take the lock on a new connection, unless another holds it."""
        self._session.close()
        self._connection = self._session.enter_context(self._connect())
        self._connection.execute(text(KEEPALIVE))
        if self._connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK}).scalar():
            return True
        self._session.close()
        return False

    def _keep(self) -> None:
        """Look whether the connection stands, which holds the lock. While Postgres is out nobody can launch anything."""
        while not self._released.wait(self._look):
            try:
                if self._connection is None:
                    if not self._try():
                        log.error("another daemon has taken the place of this one, which ends")
                        self._end()
                        return
                    log.warning("Postgres is back, and this daemon still the only one")
                else:
                    self._connection.execute(text("SELECT 1"))
            except OUT as error:
                log.warning("the connection that holds the daemon's lock is lost: %s", error)
                self._connection = None
            self._looked = time.monotonic()

    def _watch(self) -> None:
        """End where a look gets no answer: Postgres may give the lock to another daemon before this one hears of it."""
        while not self._released.wait(self._look):
            if time.monotonic() - self._looked > self._look + self._patience:
                log.error(
                    "Postgres has not answered for %g s; another daemon may take the place of this one, which ends",
                    self._patience,
                )
                self._end()
                return


def main() -> None:
    """Be `dagster-daemon`."""
    from dagster._daemon.cli import main as dagster_daemon

    with ExitStack() as held:
        if sys.argv[1:2] == ["run"]:
            instance = held.enter_context(dg.DagsterInstance.get())
            if isinstance(instance.run_storage, PostgresRunStorage):
                Turn(instance.run_storage.connect, lambda: os._exit(LOST)).take()
            held.enter_context(watched_starts(instance))
        dagster_daemon()


if __name__ == "__main__":
    main()
