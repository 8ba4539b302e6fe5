"""How a command ends: exit statuses, errors on stderr, and SIGTERM.

In: errors and signals. Out: one line on stderr, and an exit status.
"""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from reformatters_dagster.core.spec.errors import ReformatError, Refused

FAILED, REFUSED, TERMINATED = 1, 2, 128 + signal.SIGTERM


class Commands(TyperGroup):
    """Prints an error on stderr as one line, and exits 1, or 2 where the request was refused."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except SystemExit as end:
            if end.code == TERMINATED:
                _leave_at_once()
            raise

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (ReformatError, OSError) as error:
            if ctx.params["debug"]:
                typer.echo(traceback.format_exc(), err=True)
            typer.echo(f"{type(error).__name__}: {error}", err=True)
            raise typer.Exit(REFUSED if isinstance(error, Refused) else FAILED) from error


def exit_if(failed: bool) -> None:
    if failed:
        raise typer.Exit(FAILED)


@contextmanager
def termination_cleans_up() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that tmp stores and downloads are removed, and exit with 143."""
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    # A process may get SIGTERM twice when its whole group is ended. The second must not interrupt the clean-up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _leave_at_once() -> None:
    """Exit without joining the threads that still wait for an answer. Everything is cleaned up by now."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(TERMINATED)
