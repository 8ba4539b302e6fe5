"""Upstream archives and files: bytes that were asked for, and an error that says why there are none.

| module | what lies in it |
|---|---|
| `files` | `SourceFileCoord`, which file it is; `FileResult`, what became of it |
| `upstream` | the archives of a dataset, in the order they are asked |
| `archives` | one archive: list, head, get, ranges |
| `clients` | the obstore clients of real archives and of mirrors |
| `rate_limit` | how fast a host is asked |
| `compression` | the content of a compressed file, within bounds |

How often a failed request is tried again is in `spec.retries`, what a status means in `spec.failures`.
"""
