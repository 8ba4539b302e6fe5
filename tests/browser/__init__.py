"""The pages of Dagster in a real browser, over the demo's dataset: what a person sees, and does by clicks."""
