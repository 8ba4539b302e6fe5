"""A partition's run: plan, process, commit, update, backfill; launches, accounting, replicas, status."""
