"""The main job on a sample upstream, offline: a backfill, an update, a hole that heals, validation, a picture.

| module | holds |
|---|---|
| `folder` | where a demo keeps its things, and how it begins anew |
| `running` | `run_demo`: what happens, through the Dagster definitions that production runs |
| `picture` | the map of the forecast, titled as sample data |
| `definitions` | the code location of the demo's own dataset |
"""
