"""A partition's run, from what is asked for to what the ledger says, and all that launches or shows one.

| module | what lies in it |
|---|---|
| `dataset`, `declaration` | `DynamicalDataset`: what a dataset declares, and where its runs begin |
| `plan` > `process` > `commit` | the three steps of every run; `partition` does them one after the other |
| `guards`, `targets` | what is refused before a plan; which stores a run writes to |
| `verdict`, `accounting` | whether a run is committed, how far readers see; the ledger entry it becomes |
| `outcomes` | what became of a run |
| `update` | one operational update |
| `backfill`, `overwrite` | a backfill without Dagster; what it does with the store it finds |
| `launches`, `reasons`, `arrivals` | which partitions sensors launch; why, or why not yet; what has arrived upstream |
| `replicas`, `mending`, `comparison`, `layout` | replicas that lag: marked, mended, compared |
| `status` | what is known about a store, for people |
"""
