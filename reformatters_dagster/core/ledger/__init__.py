"""What is known of each partition: entries, progress, leases, changes."""
