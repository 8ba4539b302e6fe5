"""The work itself: no Dagster, no Kubernetes, no environment variables."""
