"""Checks of published stores. To add one, begin in `validators`.

| module | what lies in it |
|---|---|
| `validators` | `Validator`, the base class of every check, and how to write one |
| `standard` | `STANDARD_CHECKS`, which every dataset runs |
| `current_data` | is the newest label that is due published? |
| `nans` | do the newest labels hold too much NaN? |
| `value_range` | are values within the `valid_range` of `spec.standard_variables`? |
| `drift` | are the newest fields like the fields before? |
| `shards` | is every shard stored? |
| `structure` | are labels, coordinates, metadata and attributes those of the template? |
| `completeness` | which source files does the ledger miss? |
| `upstream` | are a few published values those of the upstream files, by another decoder? |
| `opened` | `OpenedStore`, what a check may read |
| `places` | where suspicious values lie |
| `sampling` | which chunks a check of values reads |
| `wording` | words that messages share |
"""
