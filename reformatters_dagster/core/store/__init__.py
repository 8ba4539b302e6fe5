"""Final stores: where they are, what is put to them in which order, and what must hold before.

| module | what lies in it |
|---|---|
| `location`, `connection` | one place that holds objects: put, get, list, delete; its clients and credentials |
| `stores` | `StoreSet`: primary, replicas, internal location, and the order they are written in |
| `upload` | the chunks of one shard |
| `metadata` | coordinates, array documents, root: the metadata, last |
| `initialise` | metadata of a store whose data is yet to come |
| `ingested_lengths` | the coordinate that runs write |
| `reading` | what readers see |
| `guards`, `template_guards`, `replica_guards` | refusals |
| `host_turns` | the turns of a rate-limited host, shared by processes |
| `settings` | `Settings` and `Workspace`: the places a deployment names |

How often a failed request is tried again is in `spec.retries`, what a failure means in `spec.failures`.
"""
