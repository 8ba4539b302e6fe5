"""A deterministic simulator of a deployment: the real code of runs over a virtual clock, stores in memory, a made-up upstream.

In: a seed. Out: one line, or the first promise that was broken, by name.

| module | what lies in it |
|---|---|
| `scheduler` | the virtual clock, and processes that run one at a time |
| `threads` | what stands for the standard library's threads, and for zarr's |
| `chance` | random numbers that depend on the seed and a name only |
| `objects` | object stores in memory, asked as obstore is asked |
| `weather` | upstream files: when they come, and what is in them |
| `dataset` | a small analysis over such files |
| `arrays` | shards on the tmp disk, without zarr |
| `folders` | where a seed works on the disk |
| `memory` | slow pure functions, which answer from memory |
| `faults` | what may go wrong, as data |
| `deployment` | sensors and runs, as Dagster launches them |
| `reader` | what a reader sees, decoded without the code under test |
| `torn` | a reader who was between two requests while a shard was replaced |
| `versions` | what other versions of this project leave to be read |
| `promises` | what must hold, each with a name |
| `disturbances` | what happens from outside: outages, lost objects, people |
| `world` | all of it, for one seed |
| `shrinking` | a failing seed becomes a short list of events |
"""
