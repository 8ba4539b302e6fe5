"""The code location of DWD's datasets."""

from dataset_defs import PROVIDERS, of_provider
from reformatters_dagster.orchestration.build import build_definitions

defs = build_definitions(of_provider("dwd"), among=PROVIDERS)
