"""Sizes and durations, as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.config.schema import schema
from mcpnatsd.config.sizes import (
    BYTES_PATTERN,
    SECONDS_PATTERN,
    format_bytes,
    format_seconds,
    parse_bytes,
    parse_seconds,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("12B", 12),
        ("512KiB", 524288),
        ("8MiB", 8388608),
        ("8 MiB", 8388608),
        ("1MB", 1000000),
        ("2kB", 2000),
        ("2KB", 2000),
        ("1GiB", 1073741824),
        ("1GB", 1000000000),
    ],
)
def test_a_size_may_have_a_unit(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("30", 30.0),
        ("1.5", 1.5),
        ("500ms", 0.5),
        ("30s", 30.0),
        ("10m", 600.0),
        ("2h", 7200.0),
        ("1.5 h", 5400.0),
        ("7d", 604800.0),
    ],
)
def test_a_duration_may_have_a_unit(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "MiB", "8mib", "8M", "-1", "1.5MiB", "8MiB\n", "1_000", "٣", "9" * 16]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1:30", "1h30m", "inf", "nan", "30s\n", "1e3"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_seconds(text)


@given(st.integers(min_value=0, max_value=2**40))
def test_a_size_survives_being_written_and_read(size: int) -> None:
    assert parse_bytes(format_bytes(size)) == size


@given(st.integers(min_value=0, max_value=10**11))
def test_a_duration_survives_being_written_and_read(milliseconds: int) -> None:
    seconds = milliseconds / 1000

    assert parse_seconds(format_seconds(seconds)) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("size", "text"), [(8388608, "8MiB"), (1024, "1KiB"), (1000, "1000B"), (0, "0B")]
)
def test_a_size_is_written_in_the_largest_unit_that_fits(size: int, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(604800.0, "7d"), (600, "10m"), (90.0, "90s"), (0.5, "0.5s"), (0, "0s")]
)
def test_a_duration_is_written_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_an_editor_checks_sizes_by_the_same_patterns() -> None:
    definitions = schema()["$defs"]

    assert definitions["bytes"]["pattern"] == BYTES_PATTERN
    assert definitions["seconds"]["pattern"] == SECONDS_PATTERN
