"""CPU and wall seconds of a block, in the process that runs it: its threads and finished or running children included."""

import os
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(children: Sequence[int] = ()) -> float:
    """User and system seconds so far of this process, of the children it has waited for, and of those named."""
    own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in own) + sum(map(_running, children))


def _running(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@dataclass
class Stopwatch:
    """Times of named blocks, and of all that lies between the first start and the last stop."""

    cpu: dict[str, float] = field(default_factory=dict)
    wall: dict[str, float] = field(default_factory=dict)
    children: Sequence[int] = ()
    """Processes of a pool that outlives the blocks."""

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add a block to a stage; blocks of two stages must not overlap."""
        cpu, wall = cpu_seconds(self.children), time.perf_counter()
        try:
            yield
        finally:
            self.cpu[stage] = self.cpu.get(stage, 0.0) + cpu_seconds(self.children) - cpu
            self.wall[stage] = self.wall.get(stage, 0.0) + time.perf_counter() - wall
