"""The code location of the datasets that `reformat demo` alone makes."""

from dataset_defs import of_demo
from reformatters_dagster.orchestration.build import build_definitions

defs = build_definitions(of_demo())
