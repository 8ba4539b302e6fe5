"""In: the labels of a field. Out: init time, lead time and valid time in words."""

from collections.abc import Mapping

import pandas as pd


def labels_in_words(labels: Mapping[str, object]) -> str:
    """What a forecaster looks for first: of which init time, how far ahead, and when it is valid.

    >>> labels_in_words({"init_time": pd.Timestamp("2026-07-29T18"), "lead_time": pd.Timedelta("30h")})
    'init 2026-07-29 18:00 UTC, +30 h, valid Fri 2026-07-31 00:00 UTC'
    >>> labels_in_words({"time": pd.Timestamp("2026-07-29T18"), "ensemble_member": 3})
    'valid Wed 2026-07-29 18:00 UTC, ensemble member 3'
    """
    rest = dict(labels)
    init, lead, time = (rest.pop(name, None) for name in ("init_time", "lead_time", "time"))
    said = []
    if init is not None:
        said.append(f"init {pd.Timestamp(init):%Y-%m-%d %H:%M} UTC")  # type: ignore[arg-type]
    if lead is not None:
        said.append(f"+{pd.Timedelta(lead) / pd.Timedelta(hours=1):g} h")  # type: ignore[arg-type]
    if init is not None and lead is not None:
        time = pd.Timestamp(init) + pd.Timedelta(lead)  # type: ignore[arg-type]
    if time is not None:
        said.append(f"valid {pd.Timestamp(time):%a %Y-%m-%d %H:%M} UTC")  # type: ignore[arg-type]
    said += [f"{name.replace('_', ' ')} {label}" for name, label in rest.items()]
    return ", ".join(said)
