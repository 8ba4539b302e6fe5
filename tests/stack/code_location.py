"""The datasets of the stack as a code location, as an image would hold it.

`TEST_TEMPLATES` names the folder of their templates and `TEST_START` the first label; the rest is the usual settings.
"""

import os
from pathlib import Path

import pandas as pd

from reformatters_dagster.orchestration.build import build_definitions
from tests.stack.datasets import DECLARED, dataset_named

START = pd.Timestamp(os.environ["TEST_START"]).as_unit("us")
TEMPLATES = Path(os.environ["TEST_TEMPLATES"])
defs = build_definitions([dataset_named(name, TEMPLATES, START) for name in DECLARED])
