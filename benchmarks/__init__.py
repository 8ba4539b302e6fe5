"""What the pipeline costs, measured against others that do the same work on the same files.

`python -m benchmarks compare`, `codecs`, `startup`, `scale`; each prints what it measured and, with `--write`, puts it
into `benchmarks/README.md`.
"""
