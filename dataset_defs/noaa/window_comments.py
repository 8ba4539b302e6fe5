"""What readers must know of a time window, in words. In: rows without. Out: rows whose comment ends with them."""

from collections.abc import Iterable, Mapping

from reformatters_dagster import DataVar, StepType

_WORD: Mapping[StepType, str] = {"avg": "Mean over", "max": "Highest value in", "min": "Lowest value in"}


def of_forecast[Row: DataVar](rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows of a dataset with lead times."""
    window = "a window that ends at the valid time and began at the last multiple of {} h of lead time before it."
    rate = "Mean over the time since the previous lead time."
    return tuple(_explained(row, window, rate, "NaN at lead time 0, where no window has begun.") for row in rows)


def of_analysis[Row: DataVar](rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows of a dataset along valid time."""
    window = "a window that ends at this time and began at the last multiple of {} h UTC before it."
    return tuple(_explained(row, window, "Mean over the time since the previous step.") for row in rows)


def _explained[Row: DataVar](row: Row, window: str, rate: str, remark: str | None = None) -> Row:
    if row.window_reset is None:
        return row
    hours = row.window_reset.total_seconds() / 3600
    words = rate if row.deaccumulation is not None else f"{_WORD[row.step_type]} {window.format(f'{hours:g}')}"
    return row.model_copy(update={"comment": " ".join(filter(None, (row.comment, words, remark)))})
