import base64

import numpy as np
import pytest

from reformatters_dagster.pictures import as_markdown_image, draw_completeness
from tests.pictures.pixels import assert_nothing_touches_the_border, pixels, share_of

COMPLETE = [67, 147, 168]
NOTHING = [127, 0, 0]


def table(partitions: int, variables: int) -> tuple[list[str], list[str]]:
    longest = "downward_direct_short_wave_radiation_flux_surface"
    return [f"2026-07-{n % 31 + 1:02}T18:00" for n in range(partitions)], [
        f"{n}_{longest}"[:49] for n in range(variables)
    ]


@pytest.mark.parametrize(("partitions", "variables"), [(1, 1), (60, 30), (200, 5)])
def test_completeness_labels_fit(partitions: int, variables: int) -> None:
    png = draw_completeness(np.ones((partitions, variables)), *table(partitions, variables))
    assert_nothing_touches_the_border(png)
    assert share_of(png, COMPLETE) > 0.05
    height, width = pixels(png).shape[:2]
    assert width >= min(partitions, 60) * 14 + 49 * 6
    assert height >= variables * 15 + 16 * 6


def test_completeness_shows_a_single_missing_file() -> None:
    fractions = np.ones((4, 3))
    whole = draw_completeness(fractions, *table(4, 3))
    fractions[2, 1] = 208 / 209
    hole = draw_completeness(fractions, *table(4, 3))
    cell = share_of(whole, COMPLETE) / 12
    assert share_of(whole, COMPLETE) - share_of(hole, COMPLETE) == pytest.approx(cell, rel=0.1)


def test_completeness_tells_never_written_from_written_without_data() -> None:
    names = table(4, 3)
    nothing = draw_completeness(np.zeros((4, 3)), *names)
    never = draw_completeness(np.full((4, 3), np.nan), *names)
    assert share_of(nothing, NOTHING) > 0.1
    assert share_of(never, NOTHING) < 0.01
    assert nothing != never


def test_completeness_has_variables_as_rows() -> None:
    fractions = np.ones((4, 3))
    fractions[0] = 0
    dark = np.argwhere((pixels(draw_completeness(fractions, *table(4, 3))) == NOTHING).all(axis=-1))
    in_table = dark[dark[:, 0] < 40]
    assert np.ptp(in_table[:, 0]) > 30
    assert np.ptp(in_table[:, 1]) < 200


def test_completeness_refuses_labels_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"shape \(3, 4\), the labels say \(4, 3\)"):
        draw_completeness(np.ones((3, 4)), *table(4, 3))
    with pytest.raises(ValueError, match="at least one partition"):
        draw_completeness(np.ones((0, 3)), *table(0, 3))


def test_markdown_image_carries_its_bytes() -> None:
    png = draw_completeness(np.ones((2, 2)), *table(2, 2))
    text = as_markdown_image(png, "completeness")
    start, encoded = text.split(",")
    assert start == "![completeness](data:image/png;base64"
    assert base64.b64decode(encoded.removesuffix(")")) == png
