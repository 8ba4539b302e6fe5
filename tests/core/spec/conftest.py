"""A committed template of a forecast, and one of an analysis."""

import pytest

from tests.core.spec.on_disk import committed
from tests.tiny import TinyTemplate, tiny_analysis, tiny_template


@pytest.fixture(scope="module")
def forecast(tmp_path_factory: pytest.TempPathFactory) -> TinyTemplate:
    return committed(tiny_template(tmp_path_factory.mktemp("templates")))


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> TinyTemplate:
    return committed(tiny_analysis(tmp_path_factory.mktemp("templates")))
