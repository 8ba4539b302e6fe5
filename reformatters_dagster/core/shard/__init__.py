"""Arrays to shard objects on the tmp disk, and continuing a shard that is published."""
