"""Names of partitions: a partition is called after the first label of its shard."""

from reformatters_dagster.core.spec.values import Timestamp

PARTITION_FORMAT = "%Y-%m-%dT%H:%M"


def partition_key(label: Timestamp) -> str:
    """Key of the partition whose shard starts at a label."""
    return label.isoformat(timespec="minutes")
