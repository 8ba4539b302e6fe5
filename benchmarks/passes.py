"""The work of a pipeline, done twice in its process: the second time is what is compared.

The first time everything that a process pays once is paid: memory had from the system, which a virtual machine may have to ask
its host for at ten times the usual cost, kernels and libraries loaded, caches filled. A region of a real dataset has many times
the variables of this benchmark, so that the second time is what most of them cost.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.stopwatch import Stopwatch, cpu_seconds
from benchmarks.task import Task, report


def run_twice(task: Task, work: Callable[[Task], Mapping[str, Any]], children: Sequence[int] = ()) -> None:
    """Do the work twice, each time in empty folders, and report.

    Parameters
    ----------
    work : callable
        Leaves the output in the task's folders, and returns what else is to be reported.
    children : sequence of int
        Processes of a pool that the work shares out to.
    """
    used = []
    for _ in range(2):
        task.clear()
        watch = Stopwatch(children=children)
        with watch.timed("work"):
            others = work(task)
        used.append(cpu_seconds(children))
    report(cpu=watch.cpu["work"], wall=watch.wall["work"], process_cpu=used[0], **others)
