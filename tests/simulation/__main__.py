"""The simulator at the terminal: `python -m tests.simulation --seeds 1-100`."""

import argparse
import logging
import sys
import time
from collections.abc import Iterator

from tests.simulation.faults import NAMES, only
from tests.simulation.layouts import LAYOUTS
from tests.simulation.shrinking import shrink
from tests.simulation.world import simulate


def main() -> int:
    """Simulate some seeds, one line each; returns 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--seeds", help="a range of seeds, such as 1-100")
    parser.add_argument("--minutes", type=float, help="seeds one after the other, for so long")
    parser.add_argument("--trace", action="store_true", help="everything that happens")
    parser.add_argument("--only", nargs="+", choices=NAMES, help="families of faults; default: those of each seed")
    parser.add_argument("--layout", choices=LAYOUTS, help="the shape of the dataset; default: that of each seed")
    parser.add_argument("--codecs", action="store_true", help="with zarr's own codecs, several times slower")
    parser.add_argument("--shrink", action="store_true", help="the fewest faults that break what the seed breaks")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    families = only(*options.only) if options.only else None
    layout = LAYOUTS.get(options.layout)
    failed = runs = reads = seeds = 0
    started = time.monotonic()
    for seed in _seeds(options):
        outcome = simulate(seed, families=families, trace=options.trace, codecs=options.codecs, layout=layout)
        for line in outcome.trace:
            sys.stdout.write(f"{line}\n")
        sys.stdout.write(f"{outcome}\n")
        sys.stdout.flush()
        if options.shrink:
            for promise in sorted(outcome.promises):
                for fault in shrink(seed, promise, families, layout=layout):
                    sys.stdout.write(f"{promise} < {fault}\n")
        failed, seeds = failed + bool(outcome.broken), seeds + 1
        runs, reads = runs + outcome.runs, reads + outcome.reads
    seconds = time.monotonic() - started
    sys.stdout.write(
        f"seeds={seeds} failed={failed} runs={runs} reads={reads} seconds={seconds:.0f} runs_per_second={runs / seconds:.1f}\n"
    )
    return int(failed > 0)


def _seeds(options: argparse.Namespace) -> Iterator[int]:
    if options.seed is not None:
        yield options.seed
    elif options.seeds is not None:
        first, _, last = options.seeds.partition("-")
        yield from range(int(first), int(last or first) + 1)
    else:
        ends, seed = time.monotonic() + 60 * (options.minutes or 1.0), 0
        while time.monotonic() < ends:
            yield seed
            seed += 1


if __name__ == "__main__":
    sys.exit(main())
