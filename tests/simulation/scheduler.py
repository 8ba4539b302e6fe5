"""Processes that run one at a time over a virtual clock.

In: callables. Out: their interleaving, which depends only on how long each of their steps takes.

A step of a process is `sleep`: any other process whose time has come runs before it returns. Between two steps nothing else
happens.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from greenlet import getcurrent, greenlet


class Killed(BaseException):
    """The process has ended here. What its `finally` blocks do reaches no store any more."""


@dataclass(eq=False)
class Process:
    """One operating-system process of the deployment, with a clock of its own."""

    name: str
    clock_error: float = 0.0
    """Seconds by which its wall clock is ahead."""
    dead: bool = False
    stalled_until: float = 0.0
    steps: int = 0
    """Requests that it has made."""
    ended: bool = False
    """Whether its main call is over, in whatever way."""


@dataclass(eq=False)
class Fiber:
    """One thread of a process."""

    process: Process
    run: greenlet
    wake: int = 0
    """Number of the sleep that it is in: an alarm of an earlier one is ignored."""
    waiters: list["Fiber"] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return bool(self.run.dead)


class Scheduler:
    """The virtual clock, and whose turn it is."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the simulation began."""
        self.late_calls = 0
        """Puts that their clients gave up, and that have not landed yet."""
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._main = getcurrent()
        self._current: Fiber | None = None

    @property
    def current(self) -> Fiber:
        """The fiber whose turn it is."""
        assert self._current is not None, "no process is at work"
        return self._current

    def monotonic(self) -> float:
        """As `time.monotonic`."""
        return self.now

    def call_at(self, at: float, call: Callable[[], None]) -> None:
        """Call something at a time, outside of all processes."""
        heapq.heappush(self._alarms, (max(at, self.now), next(self._order), call))

    def spawn(self, process: Process, call: Callable[[], None]) -> Fiber:
        """Begin a thread of a process."""

        def body() -> None:
            try:
                call()
            except Killed:
                pass
            finally:
                for waiter in fiber.waiters:
                    self._alarm(waiter, self.now)

        fiber = Fiber(process, greenlet(body, parent=self._main))
        self._alarm(fiber, self.now)
        return fiber

    def sleep(self, seconds: float) -> None:
        """As `time.sleep`."""
        fiber, until = self.current, self.now + max(seconds, 0.0)
        if (self._alarms and self._alarms[0][0] <= until) or fiber.process.stalled_until > until:
            self._alarm(fiber, until)
            self._main.switch()
        else:
            self.now = until
        if fiber.process.dead:
            raise Killed

    def wait(self, waiters: list[Fiber], timeout: float | None) -> None:
        """Sleep until somebody wakes the waiters, or the time is over."""
        fiber = self.current
        waiters.append(fiber)
        fiber.wake += 1
        if timeout is not None:
            self._alarm(fiber, self.now + timeout, again=False)
        self._main.switch()
        waiters.remove(fiber)
        if fiber.process.dead:
            raise Killed

    def wake(self, waiters: list[Fiber]) -> None:
        """Wake all who wait."""
        for fiber in waiters:
            self._alarm(fiber, self.now)

    def run(self, until: float) -> None:
        """Let everything happen up to a time."""
        while self._alarms and self._alarms[0][0] <= until:
            at, _, call = heapq.heappop(self._alarms)
            self.now = max(self.now, at)
            call()
        self.now = max(self.now, until)

    def _alarm(self, fiber: Fiber, at: float, *, again: bool = True) -> None:
        if again:
            fiber.wake += 1
        number = fiber.wake

        def resume() -> None:
            if fiber.wake != number or fiber.run.dead:
                return
            if not fiber.process.dead and fiber.process.stalled_until > self.now:
                self.call_at(fiber.process.stalled_until, resume)
                return
            self._current = fiber
            try:
                fiber.run.switch()
            finally:
                self._current = None

        self.call_at(at, resume)
