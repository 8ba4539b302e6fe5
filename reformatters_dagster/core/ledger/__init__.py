"""What is known of each partition, in the dataset's internal location.

| module | what lies in it |
|---|---|
| `entries` | the ledger: files expected, used and missing, by variable |
| `reach` | how far an entry tells of its partition: which labels, which files |
| `progress` | uploads that no ledger entry tells of yet |
| `lease` | one writer a partition |
| `changes` | which positions of a published shard are read again |
| `judgement` | what to say of every file after a run that read only some |
"""
