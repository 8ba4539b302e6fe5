"""One module per pipeline, each run in a process of its own: `python -m benchmarks.pipelines.ours task.json`."""
