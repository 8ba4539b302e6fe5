"""Arrays to shard objects on the tmp disk.

| module | what lies in it |
|---|---|
| `writer` | a whole region to new shards |
| `patch` | some positions into a published shard |
| `tmp_folder` | the folder of one job, swept after a kill |
"""
