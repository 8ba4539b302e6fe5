"""The checks that every dataset runs.

A dataset adds to them how late it may be, with `CheckCurrentData`, and how much NaN it may hold, with `CheckRecentNans`.
"""

from reformatters_dagster.core.check.completeness import CheckCompleteness, CheckPlausibleRates
from reformatters_dagster.core.check.drift import CheckStatsDrift
from reformatters_dagster.core.check.shards import CheckExpectedShards
from reformatters_dagster.core.check.structure import (
    CheckAppendCoordinate,
    CheckAttributes,
    CheckConsolidatedMetadata,
    CheckCoordinates,
)
from reformatters_dagster.core.check.upstream import CheckValuesMatchUpstream
from reformatters_dagster.core.check.validators import Validator
from reformatters_dagster.core.check.value_range import CheckValueRange

STANDARD_CHECKS: tuple[Validator, ...] = (
    CheckAppendCoordinate(),
    CheckCoordinates(),
    CheckConsolidatedMetadata(),
    CheckAttributes(),
    CheckExpectedShards(),
    CheckValueRange(),
    CheckStatsDrift(),
    CheckCompleteness(),
    CheckPlausibleRates(),
    CheckValuesMatchUpstream(),
)
"""What every dataset is held to, beside how late it may be and how much NaN it may hold.

>>> [check.name for check in STANDARD_CHECKS][:2]
['append_coordinate', 'coordinates']
"""
