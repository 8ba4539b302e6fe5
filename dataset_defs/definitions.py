"""Every dataset in one code location, for `dg`: a session of development is up sooner. A deployment has one for each provider."""

from dataset_defs import DATASETS, PROVIDERS
from reformatters_dagster.orchestration.build import build_definitions

defs = build_definitions(DATASETS, among=PROVIDERS)
