"""The code location of contributed datasets."""

from dataset_defs import PROVIDERS, of_provider
from reformatters_dagster.orchestration.build import build_definitions

defs = build_definitions(of_provider("contrib"), among=PROVIDERS)
