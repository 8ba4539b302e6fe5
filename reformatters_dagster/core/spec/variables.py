"""Data variables: what readers see of one, which message holds it, and how its values are made from that.

In: rows of a table in `dataset_defs`. Out: frozen values.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from reformatters_dagster.core.spec.standard_variables import standard_variable
from reformatters_dagster.core.spec.values import Duration, Frozen, Time, Timedelta, Timestamp

type Statistic = Literal["instant", "avg", "acc", "max", "min"]
"""What a source's field says of its time window: nothing, a mean, a total, an extreme.

>>> highest: Statistic = "max"
>>> GribField(element="TMAX", level="surface", parameter=(0, 0, 4), surface=(1, None), statistic=highest).statistic
'max'
"""

type StepType = Literal["instant", "avg", "accum", "max", "min"]
"""What a reader is told of a variable's time window.

>>> words: dict[StepType, str] = {"avg": "Mean over", "max": "Highest value in"}
>>> words["avg"]
'Mean over'
"""


_STEP_TYPES: Mapping[Statistic, StepType] = {
    "instant": "instant",
    "avg": "avg",
    "acc": "accum",
    "max": "max",
    "min": "min",
}


class GribField(Frozen):
    """Which message of a source file holds a variable, by the words of its index and by the numbers inside it.

    >>> rain = GribField(element="APCP", level="surface", parameter=(0, 1, 8), surface=(1, None), statistic="acc")
    >>> rain.statistic
    'acc'
    """

    element: str
    """Parameter abbreviation of the index, such as TMP."""
    level: str
    """Level text of the index, such as `2 m above ground`."""
    parameter: tuple[int, int, int]
    """GRIB2 discipline, parameter category, parameter number (code tables 0.0, 4.1, 4.2)."""
    surface: tuple[int, float | None]
    """Type of the first fixed surface (code table 4.5) and its value in SI units; None where the type has no value."""
    statistic: Statistic = "instant"
    """Statistical process over the time window (code table 4.10)."""
    alternatives: tuple[str, ...] = ()
    """Abbreviations the same field has carried at other times."""
    alternative_parameters: tuple[tuple[int, int, int], ...] = ()
    """Other numbers the same field has carried, those of its alternatives included."""
    alternative_surfaces: tuple[tuple[int, float | None], ...] = ()
    """Other surfaces the same field may carry."""
    derived: int | None = None
    """What of an ensemble the field is (code table 4.7): 0 its mean, 4 its spread; None for a forecast."""
    first_of_duplicates: bool = False
    """The index may name the field twice with the same words; the first message is meant."""


class Deaccumulation(Frozen):
    """How running totals, or running means, become mean rates (see `transforms.deaccumulate_in_place`).

    >>> Deaccumulation(reset="6h").reset
    Timedelta('0 days 06:00:00')
    """

    kind: Literal["accumulation", "average"] = "accumulation"
    reset: Annotated[Duration, Field(gt=Timedelta(0))] | None = None
    """How often the source restarts its window; None when it never does."""
    invalid_below: float = -7e-5
    """A rate below this (target units) becomes NaN; a smaller negative one becomes 0."""
    expected_clamp_fraction: float = 0.05
    expected_invalid_fraction: float = 0.0


class DataVar(Frozen):
    """One data variable: what readers see of it, and how it is made from its message.

    >>> field = GribField(element="TMP", level="2 m above ground", parameter=(0, 0, 0), surface=(103, 2.0))
    >>> temperature = DataVar.standard("temperature_2m", field, comment="In the shade.")
    >>> temperature.long_name, temperature.units, temperature.step_type
    ('2 metre temperature', 'degree_Celsius', 'instant')
    """

    name: str
    long_name: str
    short_name: str
    units: str
    step_type: StepType
    field: GribField
    standard_name: str | None = None
    comment: str | None = None
    flag_values: tuple[int, ...] = ()
    flag_meanings: str | None = None

    window_reset: Duration | None = None
    """Length after which the source restarts its time window; None for instantaneous fields and run-long windows."""
    source_fill_value: float | None = None
    """A value the source writes for "nothing here"; becomes NaN."""
    scale_factor: float = 1.0
    earlier_scale_factors: tuple[tuple[Time, float], ...] = ()
    """Factors of earlier files, where the source has changed its units: the init time at which one ended, and the factor;
    the earliest first."""
    add_offset: float = 0.0
    """Stored value = source value * scale_factor + add_offset (K to degree_Celsius: -273.15)."""
    deaccumulation: Deaccumulation | None = None
    interpolate: bool = False
    """Fill a single missing step from its two neighbours; never for categories."""
    keep_mantissa_bits: int | None = Field(default=7, ge=1, le=23)
    """Bits of the float32 mantissa that are kept; None keeps all."""
    valid_range: tuple[float, float] | None = None
    """Physically possible stored values, for a warning, never for a mask."""

    available_from: Time | None = None
    """First label of the append dimension at which the source has this variable; None for all of them."""
    hour_0: bool | None = None
    """Whether the analysis step holds this variable, where that does not follow from its statistic."""

    @classmethod
    def standard(cls, name: str, field: GribField, **own: Any) -> Self:
        """A row for a variable of `standard_variables`: where the source keeps it, and what differs.

        Parameters
        ----------
        name : str
            As the table has it.
        field : GribField
        **own
            Fields of this class. They win over the table; say in a comment why one differs. `step_type` follows from the
            field's statistic: a total that becomes a rate is a mean.

        Raises
        ------
        UnknownVariable
            When the table has no such name.
        """
        step_type = "avg" if own.get("deaccumulation") is not None else _STEP_TYPES[field.statistic]
        return cls(**dict(standard_variable(name)) | {"field": field, "step_type": step_type} | own)

    def scale_factor_at(self, init_time: Timestamp) -> float:
        """The factor for files of an init time."""
        return next((factor for end, factor in self.earlier_scale_factors if init_time < end), self.scale_factor)

    @property
    def has_hour_0(self) -> bool:
        """Whether the analysis step holds this variable: windows have no length there."""
        return self.field.statistic == "instant" if self.hour_0 is None else self.hour_0

    @property
    def attrs(self) -> dict[str, object]:
        """Attributes written to the store; GRIB identities and processing switches are not."""
        optional: dict[str, object | None] = {
            "standard_name": self.standard_name,
            "comment": self.comment,
            "flag_values": list(self.flag_values) or None,
            "flag_meanings": self.flag_meanings,
        }
        return {
            "long_name": self.long_name,
            "short_name": self.short_name,
            "units": self.units,
            "step_type": self.step_type,
            **{key: value for key, value in optional.items() if value is not None},
        }


def by_name(data_vars: Iterable[DataVar]) -> dict[str, DataVar]:
    """Variables by name; a repeated name raises."""
    named: dict[str, DataVar] = {}
    for data_var in data_vars:
        if data_var.name in named:
            raise ValueError(f"variable {data_var.name!r} is defined twice")
        named[data_var.name] = data_var
    return named
