"""Sizes and durations, between what people write and numbers of bytes and seconds."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

BYTES_PATTERN: Final = r"^[0-9]{1,15} ?(B|kB|KB|KiB|MB|MiB|GB|GiB)?$"
SECONDS_PATTERN: Final = r"^[0-9]{1,9}(\.[0-9]{1,6})? ?(ms|s|m|h|d)?$"

_BYTES: Final[Mapping[str, int]] = MappingProxyType({
    "GiB": 1024**3,
    "MiB": 1024**2,
    "KiB": 1024,
    "GB": 1000**3,
    "MB": 1000**2,
    "kB": 1000,
    "KB": 1000,
    "B": 1,
})  # fmt: skip

_SECONDS: Final[Mapping[str, float]] = MappingProxyType({
    "d": 86400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 0.001,
})  # fmt: skip


def parse_bytes(text: str) -> int:
    """Read `8MiB`, `512KiB`, `1MB` or a plain number of bytes.

    Raises:
        ValueError: It is none of these.
    """
    if not (found := re.fullmatch(BYTES_PATTERN, text)):
        raise ValueError("not a size")
    unit = found[1] or "B"
    return int(text.removesuffix(unit)) * _BYTES[unit]


def parse_seconds(text: str) -> float:
    """Read `30s`, `10m`, `2h`, `7d`, `500ms` or a plain number of seconds.

    Raises:
        ValueError: It is none of these.
    """
    if not (found := re.fullmatch(SECONDS_PATTERN, text)):
        raise ValueError("not a duration")
    unit = found[2] or "s"
    number = float(text.removesuffix(unit))
    return number / 1000 if unit == "ms" else number * _SECONDS[unit]


def format_bytes(size: int) -> str:
    """Write a size in the largest binary unit that leaves a whole number."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


def format_seconds(seconds: float) -> str:
    """Write a duration in the largest unit that leaves a whole number, else in seconds."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds / _SECONDS[unit])}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
