"""The sample upstream against real files, and against pygrib, which had no part in encoding it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pygrib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reformatters_dagster.core.spec.errors import EncodingFailed, UnknownVariable
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.sample_upstream import (
    DEMO_VARIABLES,
    GFS_FIELDS,
    Encoder,
    expected_values,
    gfs_message,
    write_sample_upstream,
)

REAL = Path(__file__).parents[1] / "../shared/data"
INIT = pd.Timestamp("2026-07-29T18")
COARSE = 2.5


class Line(NamedTuple):
    number: int
    offset: int
    init: str
    element: str
    level: str
    window: str


def read_index(path: Path) -> list[Line]:
    lines = [line.split(":") for line in path.with_name(f"{path.name}.idx").read_text().splitlines()]
    assert all(len(line) == 7 and not line[6] for line in lines)
    return [Line(int(number), int(offset), *rest) for number, offset, *rest, _ in lines]


def read_messages(path: Path) -> list[bytes]:
    data, lines = path.read_bytes(), read_index(path)
    ends = [*(line.offset for line in lines[1:]), len(data)]
    return [data[line.offset : end] for line, end in zip(lines, ends, strict=True)]


def decode(message: bytes) -> Any:
    return pygrib.fromstring(message)


def windows(path: Path, element: str) -> list[str]:
    return [line.window for line in read_index(path) if line.element == element]


@pytest.fixture(scope="module")
def encoder() -> Iterator[Encoder]:
    with Encoder() as encoder:
        yield encoder


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Every variable on a coarse grid, by lead time."""
    leads = [0, 1, 6, 7, 21, 24, 120]
    paths = write_sample_upstream(
        tmp_path_factory.mktemp("mirror"), [INIT], leads, variables=tuple(GFS_FIELDS), step=COARSE
    )
    return dict(zip(leads, paths, strict=True))


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize(
    ("file", "variable", "init_time", "lead_hours", "since"),
    [
        ("FahrenheitResearch__arwen--s3-raw-tmp2m-20260729t18z-f000.grib2", "temperature_2m", "2026-07-29T18", 0, 0),
        ("nmangue__NGrib--gfs.20200325.t18z.pgrb2.0p25.f006", "precipitation_surface", "2020-03-25T18", 6, 0),
        (
            "openclimatefix__nwp-consumer--test_NOAAS3_HRES-GFS_dswrf-dlwrf_20250129T06_S27.grib",
            "downward_short_wave_radiation_flux_surface",
            "2025-01-29T06",
            27,
            24,
        ),
    ],
)
def test_real_values_make_the_real_message(
    encoder: Encoder, file: str, variable: str, init_time: str, lead_hours: int, since: int
) -> None:
    data = (REAL / "gfs" / file).read_bytes()
    real = data[: int.from_bytes(data[8:16])]
    values = decode(real).values.astype(np.float64)
    made = encoder.encode(gfs_message(GFS_FIELDS[variable], pd.Timestamp(init_time), lead_hours, values, since))
    assert made == real


@pytest.mark.parametrize("lead_hours", [0, 1, 6, 7, 21, 24, 120])
def test_messages_hold_the_expected_values(mirror: dict[int, Path], lead_hours: int) -> None:
    messages, lines = read_messages(mirror[lead_hours]), read_index(mirror[lead_hours])
    variables = {(row.field.element, row.field.level): name for name, row in GFS_FIELDS.items()}
    seen = set()
    for message, line in zip(messages, lines, strict=True):
        variable = variables[line.element, line.level]
        first = variable not in seen
        seen.add(variable)
        expected = expected_values(variable, INIT, lead_hours, step=COARSE, since=None if first else 0)
        found, field = decode(message), GFS_FIELDS[variable]
        np.testing.assert_allclose(found.values, expected, rtol=0, atol=field.resolution / 2 * (1 + 1e-6))
        span = (bucket_start(lead_hours) if first else 0, lead_hours)
        instant = field.field.statistic == "instant"
        assert found.stepRange == (str(lead_hours) if instant else "{}-{}".format(*span))
        assert found.stepType == {"acc": "accum"}.get(field.field.statistic, field.field.statistic)
        assert found.level == (field.field.surface[1] or 0)
        assert (found.discipline, found.parameterCategory, found.parameterNumber) == field.field.parameter
        assert (found.packingType, found.orderOfSpatialDifferencing) == ("grid_complex_spatial_differencing", 2)
        assert (found.decimalScaleFactor, found.binaryScaleFactor) == (field.decimal_scale, field.binary_scale)
    windowed = {name for name, row in GFS_FIELDS.items() if row.field.statistic != "instant"}
    assert seen == (set(GFS_FIELDS) if lead_hours else set(GFS_FIELDS) - windowed)


@pytest.mark.parametrize("lead_hours", [0, 6, 7, 120])
def test_ranges_of_the_index_are_whole_messages(mirror: dict[int, Path], lead_hours: int) -> None:
    lines = read_index(mirror[lead_hours])
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    assert {line.init for line in lines} == {"d=2026072918"}
    for message in read_messages(mirror[lead_hours]):
        assert message.startswith(b"GRIB")
        assert message.endswith(b"7777")
        assert int.from_bytes(message[8:16]) == len(message)


@pytest.mark.usefixtures("shared_data")
def test_index_says_what_a_real_one_says_in_the_same_order(mirror: dict[int, Path]) -> None:
    for lead_hours, file in (
        (0, "dynamical-org__reformatters--gfs.t00z.pgrb2.0p25.f000.idx"),
        (7, "dynamical-org__reformatters--gfs.t00z.pgrb2.0p25.f007.idx"),
        (21, "fsspec__kerchunk--gfs.t00z.pgrb2.0p25.f021.idx"),
    ):
        real = iter([line.split(":")[3:6] for line in (REAL / "idx_only" / file).read_text().splitlines()])
        assert all([line.element, line.level, line.window] in real for line in read_index(mirror[lead_hours]))


def test_paths_and_labels_are_the_archives(mirror: dict[int, Path]) -> None:
    folders = mirror[7].parts[-5:]
    assert folders == ("noaa-gfs-bdp-pds", "gfs.20260729", "18", "atmos", "gfs.t18z.pgrb2.0p25.f007")
    assert windows(mirror[0], "APCP") == windows(mirror[0], "DSWRF") == []
    assert windows(mirror[1], "APCP") == ["0-1 hour acc fcst"] * 2
    assert windows(mirror[6], "APCP") == ["0-6 hour acc fcst"] * 2
    assert windows(mirror[7], "APCP") == ["6-7 hour acc fcst", "0-7 hour acc fcst"]
    assert windows(mirror[24], "APCP") == ["18-24 hour acc fcst", "0-1 day acc fcst"]
    assert windows(mirror[120], "APCP") == ["114-120 hour acc fcst", "0-5 day acc fcst"]
    assert windows(mirror[24], "DSWRF") == ["18-24 hour ave fcst"]
    assert windows(mirror[7], "TMAX") == ["6-7 hour max fcst"]
    assert windows(mirror[24], "PRMSL") == ["24 hour fcst"]
    assert windows(mirror[0], "PRMSL") == ["anl"]


def test_doubled_messages_are_equal_until_the_first_bucket_ends(mirror: dict[int, Path]) -> None:
    for lead_hours, equal in ((1, True), (6, True), (7, False)):
        elements = [line.element for line in read_index(mirror[lead_hours])]
        bucket, run = (m for m, e in zip(read_messages(mirror[lead_hours]), elements, strict=True) if e == "APCP")
        assert (bucket == run) is equal
        assert decode(bucket).stepRange == ("6-7" if lead_hours == 7 else f"0-{lead_hours}")


def bucket_start(lead_hours: int) -> int:
    return next(start for start in range(0, 384, 6) if start < lead_hours <= start + 6) if lead_hours else 0


inits = st.integers(0, 4 * 366).map(lambda k: Timestamp("2024-01-01") + k * pd.Timedelta("6h"))


@settings(max_examples=30, deadline=None)
@given(init_time=inits, lead_hours=st.integers(1, 60))
def test_buckets_add_up_to_the_run_total(init_time: Timestamp, lead_hours: int) -> None:
    ends = [*range(6, lead_hours, 6), lead_hours]
    buckets = [expected_values("precipitation_surface", init_time, end, step=15) for end in ends]
    total = expected_values("precipitation_surface", init_time, lead_hours, step=15, since=0)
    np.testing.assert_allclose(sum(buckets), total, rtol=1e-9, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(init_time=inits, window=st.integers(0, 63))
def test_means_of_hours_average_to_that_of_their_window(init_time: Timestamp, window: int) -> None:
    variable, end = "downward_short_wave_radiation_flux_surface", 6 * window + 6
    hours = [expected_values(variable, init_time, h, step=15, since=h - 1) for h in range(end - 5, end + 1)]
    whole = expected_values(variable, init_time, end, step=15)
    np.testing.assert_allclose(np.mean(hours, axis=0), whole, rtol=1e-9, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(init_time=inits, lead_hours=st.integers(1, 384))
def test_fields_are_possible_weather(init_time: Timestamp, lead_hours: int) -> None:
    bounds = {
        "temperature_2m": (190, 330),
        "pressure_reduced_to_mean_sea_level": (93000, 105000),
        "wind_u_10m": (-50, 50),
        "wind_v_10m": (-50, 50),
        "precipitation_surface": (0, 200),
        "downward_short_wave_radiation_flux_surface": (0, 1361),
        "relative_humidity_2m": (0, 100),
    }
    for variable, (low, high) in bounds.items():
        values = expected_values(variable, init_time, lead_hours, step=15)
        assert low <= values.min()
        assert values.max() <= high


def test_rain_leaves_large_areas_dry_and_the_sun_half_the_globe_dark() -> None:
    rain = expected_values("precipitation_surface", INIT, 6, step=COARSE)
    assert 0.2 < np.mean(rain < 1 / 32) < 0.9
    assert rain.max() > 5
    sun = expected_values("downward_short_wave_radiation_flux_surface", INIT, 1, step=COARSE)
    assert 0.3 < np.mean(sun == 0) < 0.6


def test_windowed_variables_have_no_value_at_the_analysis() -> None:
    assert np.isnan(expected_values("precipitation_surface", INIT, 0, step=15)).all()
    assert np.isfinite(expected_values("temperature_2m", INIT, 0, step=15)).all()


@pytest.fixture(scope="module")
def full_grid(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    [path] = write_sample_upstream(tmp_path_factory.mktemp("full"), [INIT], [0], variables=["temperature_2m"])
    [message] = read_messages(path)
    return message


def test_full_grid(full_grid: bytes) -> None:
    expected = expected_values("temperature_2m", INIT, 0)
    found = decode(full_grid)
    assert found.values.shape == expected.shape == (721, 1440)
    assert np.abs(found.values - expected).max() <= 0.05 + 1e-6
    latitudes, longitudes = found.latlons()
    assert (latitudes[0, 0], latitudes[-1, 0], longitudes[0, 0], longitudes[0, -1]) == (90, -90, 0, 359.75)


@pytest.mark.usefixtures("shared_data")
def test_full_grid_is_described_as_the_real_one(full_grid: bytes) -> None:
    real = (REAL / "gfs/FahrenheitResearch__arwen--s3-raw-tmp2m-20260729t18z-f000.grib2").read_bytes()
    assert full_grid[16:143] == real[16:143]


def test_asking_again_keeps_whole_files_and_mends_the_others(tmp_path: Path) -> None:
    def ask(variables: tuple[str, ...] = ("temperature_2m", "precipitation_surface"), step: float = 15) -> int:
        written: list[tuple[int, int]] = []

        def record(done: int, total: int) -> None:
            written.append((done, total))

        asked = write_sample_upstream(tmp_path, [INIT], [0, 6], variables=variables, step=step, progress=record)
        assert asked == [analysis, forecast]
        assert written == [(done, len(written)) for done in range(1, len(written) + 1)]
        return len(written)

    def contents() -> dict[Path, tuple[bytes, int]]:
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in analysis.parent.iterdir()}

    folder = tmp_path / "noaa-gfs-bdp-pds/gfs.20260729/18/atmos"
    analysis, forecast = folder / "gfs.t18z.pgrb2.0p25.f000", folder / "gfs.t18z.pgrb2.0p25.f006"
    assert ask() == 2
    before = contents()
    assert len(before) == 4
    assert ask() == 0
    assert contents() == before

    analysis.write_bytes(analysis.read_bytes()[:-1])
    forecast.with_name(f"{forecast.name}.idx").unlink()
    assert ask() == 2
    assert {path: data for path, (data, _) in contents().items()} == {path: data for path, (data, _) in before.items()}
    assert ask(variables=("temperature_2m",)) == 1  # the analysis never had precipitation
    assert ask(variables=("temperature_2m",), step=30) == 2
    assert decode(read_messages(analysis)[0]).Ni == 12


def test_an_interrupted_write_leaves_whole_files_only(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        write_sample_upstream(tmp_path, [INIT], range(40), step=15, progress=stop)
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert 2 <= len(names) < 80
    assert names == {f"{name.removesuffix('.idx')}{end}" for name in names for end in ("", ".idx")}
    assert not any(name.startswith(".") for name in names)


def test_unknown_variable(tmp_path: Path) -> None:
    with pytest.raises(UnknownVariable, match=r"variable 'temperature' is not in the sample; it has .*temperature_2m"):
        write_sample_upstream(tmp_path, [INIT], [0], variables=["temperature"])
    with pytest.raises(UnknownVariable, match="'tp'"):
        expected_values("tp", INIT, 6)
    assert list(tmp_path.iterdir()) == []


def test_grids_that_miss_a_pole_are_refused() -> None:
    with pytest.raises(ValueError, match=r"step of 0\.7 degrees does not divide 180"):
        expected_values("temperature_2m", INIT, 0, step=0.7)


def test_refused_messages_are_told() -> None:
    message = gfs_message(GFS_FIELDS["temperature_2m"], INIT, 0, np.zeros((13, 24)))
    with (
        Encoder() as encoder,
        pytest.raises(EncodingFailed, match=r"312 values.*status 1.*key 'noSuchKey' cannot be set to 1"),
    ):
        encoder.encode(message._replace(keys={**message.keys, "noSuchKey": 1}))
    with Encoder() as encoder, pytest.raises(EncodingFailed, match="cannot convert float NaN to integer"):
        encoder.encode(message._replace(values=np.full((13, 24), np.nan)))


def test_eccodes_stays_in_the_child(mirror: dict[int, Path]) -> None:
    assert mirror
    assert not {"eccodes", "gribapi"} & set(sys.modules)


def test_demo_variables_are_of_the_sample() -> None:
    assert set(DEMO_VARIABLES) <= set(GFS_FIELDS)
    assert len(GFS_FIELDS) == 25
