"""The code location of ECMWF's datasets."""

from dataset_defs import PROVIDERS, of_provider
from reformatters_dagster.orchestration.build import build_definitions

defs = build_definitions(of_provider("ecmwf"), among=PROVIDERS)
