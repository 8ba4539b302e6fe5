"""The code locations of the datasets that `reformat demo` alone makes, one a provider."""

from dataset_defs import PROVIDERS, of_demo
from reformatters_dagster.orchestration.build import build_definitions

noaa = build_definitions(of_demo("noaa"), among=PROVIDERS)
contrib = build_definitions(of_demo("contrib"), among=PROVIDERS)
ecmwf = build_definitions(of_demo("ecmwf"), among=PROVIDERS)
