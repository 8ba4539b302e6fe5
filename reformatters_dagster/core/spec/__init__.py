"""What a dataset is; and the values, words, errors and policies that all other rooms share.

| module | what lies in it |
|---|---|
| `template` | `TemplateConfig`, the structure of a store as a dataset declares it |
| `axes`, `grids`, `coordinates` | dimensions, grids, and the coordinates that follow from them |
| `variables`, `standard_variables` | a row of a dataset's table; what a variable's name means everywhere |
| `sources` | `SourceArchive`, and what an HTTP status means at its host |
| `region`, `partition` | whole shards along the append dimension, and the keys of partitions |
| `template_files`, `encodings` | the template as objects in memory and on disk, and how arrays are stored |
| `zarr_documents` | Zarr documents and keys; another layout of a store begins here |
| `retries`, `failures` | how often a host is asked again, and what a failed request means, for archives and stores |
| `projection` | where the points of a projected grid lie |
| `values`, `errors`, `wording` | times, arrays and frozen models; every error; parts of messages |
| `compiled` | how numba kernels are compiled |
"""
