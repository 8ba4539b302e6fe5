"""Pictures for people: arrays and their labels go in, PNG bytes come out. matplotlib is loaded only to draw."""

from reformatters_dagster.pictures.completeness import draw_completeness
from reformatters_dagster.pictures.fields import draw_field, draw_point, panel_of
from reformatters_dagster.pictures.figures import draw_histogram, draw_latency
from reformatters_dagster.pictures.maps import MapPanel, draw_map, draw_maps, draw_panel
from reformatters_dagster.pictures.png import NOT_DRAWN, as_markdown_image, can_draw
from reformatters_dagster.pictures.series import Series, draw_beside, draw_meteogram
from reformatters_dagster.pictures.times import labels_in_words

__all__ = [
    "NOT_DRAWN",
    "MapPanel",
    "Series",
    "as_markdown_image",
    "can_draw",
    "draw_beside",
    "draw_completeness",
    "draw_field",
    "draw_histogram",
    "draw_latency",
    "draw_map",
    "draw_maps",
    "draw_meteogram",
    "draw_panel",
    "draw_point",
    "labels_in_words",
    "panel_of",
]
