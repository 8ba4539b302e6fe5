"""Daemons that wait for one another: the lock in Postgres, without the daemons."""

import socket
import socketserver
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from benchmarks.postgres import DATABASE, USER, Postgres, throw_away_postgres
from reformatters_dagster.orchestration.daemon import LOCK, Turn

LOOK, SOON = 0.05, 20.0
HOLDER = f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid::bigint = {LOCK & 0xFFFFFFFF}"

type Daemon = Callable[[], tuple[Turn, Event]]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with throw_away_postgres() as server:
        yield server


@pytest.fixture
def engine(postgres: Postgres) -> Engine:
    url = f"postgresql+psycopg2://{USER}@127.0.0.1:{postgres.port}/{DATABASE}"
    return create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)


@pytest.fixture
def daemon(engine: Engine) -> Iterator[Daemon]:
    """Makes the turn of another daemon, and what is set when it must end."""
    with ExitStack() as made:

        def make() -> tuple[Turn, Event]:
            ended = Event()
            turn = Turn(engine.connect, ended.set, LOOK)
            made.callback(turn.release)
            return turn, ended

        yield make


def taking(turn: Turn) -> Thread:
    thread = Thread(target=turn.take, daemon=True)
    thread.start()
    return thread


def test_a_second_daemon_waits_until_the_first_is_gone(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    (first, _), (second, _) = daemon(), daemon()
    first.take()
    waiting = taking(second)
    waiting.join(10 * LOOK)
    assert waiting.is_alive()
    assert "another daemon is at work on this database; this one waits until that one has ended" in caplog.messages
    first.release()
    waiting.join(SOON)
    assert not waiting.is_alive()
    assert "the other daemon has ended; this one takes its place" in caplog.messages


def test_a_daemon_whose_connection_is_cut_goes_on_where_nobody_took_its_place(
    daemon: Daemon, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    turn, ended = daemon()
    turn.take()
    with engine.connect() as other:
        before = other.execute(text(HOLDER)).scalar()
        other.execute(text(f"SELECT pg_terminate_backend({before})"))
        while (now := other.execute(text(HOLDER)).scalar()) in (None, before):
            assert not ended.wait(LOOK)
    assert now != before
    assert any("the connection that holds the daemon's lock is lost" in said for said in caplog.messages)


class Network(socketserver.ThreadingTCPServer):
    """The way to a server, which can stop to carry anything, as a network does that is cut: no end of a connection is seen."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.port = port
        self.carries = Event()
        self.carries.set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as server:
            back = Thread(target=self._carry, args=(server, request), daemon=True)
            back.start()
            self._carry(request, server)
            back.join()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.carries.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def test_a_daemon_ends_whose_postgres_gives_no_answer(postgres: Postgres, caplog: pytest.LogCaptureFixture) -> None:
    ended = Event()
    with Network(postgres.port) as network:
        Thread(target=network.serve_forever, daemon=True).start()
        url = f"postgresql+psycopg2://{USER}@127.0.0.1:{network.server_address[1]}/{DATABASE}"
        engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        turn = Turn(engine.connect, ended.set, LOOK, patience=0.5)
        turn.take()
        assert not ended.wait(1.0)
        network.carries.clear()
        assert ended.wait(SOON)
        network.carries.set()
        turn.release()
        network.shutdown()
    assert any("Postgres has not answered for 0.5 s; another daemon may take" in said for said in caplog.messages)


def test_a_daemon_whose_place_was_taken_ends(daemon: Daemon, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    turn, ended = daemon()
    turn.take()
    with engine.connect() as other:
        holder = other.execute(text(HOLDER)).scalar()
        # The other waits for the lock in Postgres itself, so nobody is quicker.
        taken = Thread(target=lambda: other.execute(text(f"SELECT pg_advisory_lock({LOCK})")))
        taken.start()
        with engine.connect() as third:
            while not third.execute(
                text(f"SELECT 1 FROM pg_locks WHERE NOT granted AND objid::bigint = {LOCK & 0xFFFFFFFF}")
            ).scalar():
                assert taken.is_alive()
            third.execute(text(f"SELECT pg_terminate_backend({holder})"))
        taken.join(SOON)
        assert ended.wait(SOON)
    assert "another daemon has taken the place of this one, which ends" in caplog.messages
