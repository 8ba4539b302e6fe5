"""How far a run is, and how long it will go on: one line that is renewed on a terminal, plain lines elsewhere.

In: counts that the core calls out, and a clock. Out: text on stderr.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from reformatters_dagster.cli.terminal import STDERR

if TYPE_CHECKING:
    from reformatters_dagster.core.job.context import OnProgress

PLAIN_EVERY = 30.0
"""Least seconds between two lines where no terminal is."""
STAGES = ("download", "read", "compress", "upload")
"""What each variable goes through, taken as equally long."""
LEAST_SHARE, LEAST_SECONDS = 0.01, 2.0
"""How much must be done, and for how long, before the time left is told."""


class Overall:
    """How much of a run is done, over its partitions and their variables."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._partition, self._partitions, self._variables = 0, 1, 0
        self._done: dict[str, float] = {}
        self._stage = ""
        self._began: tuple[float, float] | None = None

    def count(self, stage: str, done: int, total: int) -> None:
        """Take in what the core calls out: see `OnProgress`."""
        kind, _, names = stage.partition(" ")
        if kind == "partitions":
            self._partition, self._partitions, self._variables, self._done = done, max(total, 1), 0, {}
            self._stage = ""
        elif kind == "variables":
            self._variables, self._done = total, {}
            # What an earlier attempt has done takes no time.
            self._began = self._began or (self._clock(), self.share)
        else:
            self._stage = stage if done < total else self._stage
            share = (STAGES.index(kind) + done / max(total, 1)) / len(STAGES) if kind in STAGES else 1.0
            for name in names.split(","):
                self._done[name] = max(self._done.get(name, 0.0), share)

    @property
    def share(self) -> float:
        """Of the whole run, 0 to 1."""
        within = sum(self._done.values()) / self._variables if self._variables else 0.0
        return min((self._partition + min(within, 1.0)) / self._partitions, 1.0)

    def line(self) -> str:
        """Which partition, how much of all, how long still, and what is being done."""
        finished = sum(share >= 1 for share in self._done.values())
        words = [f"partition {min(self._partition + 1, self._partitions)} of {self._partitions}"]
        words += [f"variable {min(finished + 1, self._variables)} of {self._variables}"] if self._variables else []
        words += [f"{100 * self.share:.0f} %", *self._left()]
        kind, _, names = self._stage.partition(" ")
        several = names.count(",")
        shown = f"{names.partition(',')[0]} and {several} more" if several else names
        return ", ".join(words) + (f": {kind} {shown}" if kind else "")

    def _left(self) -> list[str]:
        if self._began is None:
            return []
        import pandas as pd

        from reformatters_dagster.core.spec.wording import spell_duration

        seconds, done = self._clock() - self._began[0], self.share - self._began[1]
        if done < LEAST_SHARE or seconds < LEAST_SECONDS:
            return []
        left = pd.Timedelta(seconds=round(seconds * (1 - self.share) / done))
        return [f"about {spell_duration(left)} left"]


@contextmanager
def showing_progress(console: Console = STDERR, clock: Callable[[], float] = time.monotonic) -> Iterator["OnProgress"]:
    """Show how far a run is: on a terminal in one line that goes at the end, elsewhere at most every `PLAIN_EVERY` seconds."""
    overall, lock = Overall(clock), Lock()
    if not console.is_terminal:
        last = clock()

        def write(stage: str, done: int, total: int) -> None:
            nonlocal last
            with lock:
                overall.count(stage, done, total)
                if clock() - last < PLAIN_EVERY:
                    return
                last = clock()
                line = overall.line()
            console.print(f"progress: {line}", soft_wrap=True)

        yield write
        return
    column = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=1))
    with Progress(BarColumn(16), column, console=console, transient=True, expand=True) as progress:
        task = progress.add_task("", total=1.0)

        def show(stage: str, done: int, total: int) -> None:
            with lock:
                overall.count(stage, done, total)
                line, share = overall.line(), overall.share
            progress.update(task, description=line, completed=share)

        yield show
