"""Parameters of MARS become messages, on the ground or on a pressure level."""

import pytest

from dataset_defs.ecmwf.fields import ecmwf_field


def test_a_level_is_in_the_words_of_the_index_and_the_numbers_of_the_message() -> None:
    heights, rain = ecmwf_field("gh", 850), ecmwf_field("tp")
    assert (heights.level, heights.surface, heights.statistic) == ("pl 850", (100, 85_000.0), "instant")
    assert (rain.level, rain.surface, rain.statistic) == ("sfc", (1, None), "acc")


def test_a_parameter_that_is_not_told_fully_is_refused() -> None:
    with pytest.raises(ValueError, match="'gh' lies on pressure levels: say on which"):
        ecmwf_field("gh")
    with pytest.raises(ValueError, match="'q' has no numbers; add them to PARAMETERS"):
        ecmwf_field("q")
