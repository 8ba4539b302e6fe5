"""A partition's run, from what is asked for to what the ledger says, and all that launches or shows one.

| module | what lies in it |
|---|---|
| `dataset`, `declaration` | `DynamicalDataset`: what a dataset declares, and where its runs begin |
| `plan` > `process` > `commit` | the three steps of every run; `partition` does them one after the other |
| `guards`, `targets` | what is refused before a plan; which stores a run writes to |
| `standing` | what is known of a partition before its run, and what is assumed where its entry cannot be read |
| `verdict` | whether a run is committed, and how far readers see then (with `publish_policy` and `job.publishable`) |
| `accounting` | the ledger entry that a run becomes |
| `outcomes` | what became of a run |
| `update` | one operational update |
| `backfill`, `overwrite` | a backfill without Dagster; what it does with the store it finds |
| `reasons` | the rules: why a partition is published, continued or healed now, or waits |
| `launches` | which partitions a sensor looks at, and gives up |
| `arrivals` | which files of a partition have arrived upstream |
| `replicas`, `mending`, `comparison`, `layout` | replicas that lag: marked, mended, compared |
| `crosscheck`, `sampled_fields` | published values beside what a second decoder reads in the upstream files |
| `status` | what is known about a store, for people |
| `describing` | what a dataset is, for people |
"""
