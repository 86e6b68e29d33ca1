"""The shapes benchmark: samples of 4 bytes to 10 MB, each with its ceiling."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.data import GZIP, LAYOUTS, Stored
from benchmarks.rounds import DECODE, SHUFFLED, TAKE, Case, Entry, Say, measure_entries
from benchmarks.settings import Settings

_NUMBER = {"shape": (), "dtype": "int32"}
_TINY = {"shape": (8, 8, 1)}
_PHOTO = {"shape": (224, 224, 3)}
_SCAN = {"shape": (1824, 1824, 3)}

TINY = 64
"""Bytes of a row."""

OVERHEAD = "64B-contiguous"
"""The case of small batches, in which the overhead of Python dominates. It has no target."""

CASES = {
    case.stored.name: case
    for case in (
        Case(Stored("4B-contiguous", "4 B, contiguous", **_NUMBER), 100_000_000, 4096, "256MB"),
        Case(
            Stored("4B-gzip", "4 B, gzip, 16,384 a chunk", 16_384, GZIP, **_NUMBER),
            100_000_000,
            4096,
            "256MB",
        ),
        Case(Stored(OVERHEAD, "64 B, contiguous", **_TINY), 1_000_000, 32, "32MB"),
        Case(Stored("3kB-gzip-1", "3 kB, gzip, 1 a chunk", 1, GZIP), 200_000, 256, "256MB"),
        Case(replace(LAYOUTS["gzip"], title="3 kB, gzip, 64 a chunk"), 200_000, 256, "256MB"),
        Case(
            Stored("3kB-gzip-4096", "3 kB, gzip, 4,096 a chunk", 4096, GZIP), 200_000, 256, "256MB"
        ),
        Case(Stored("150kB-contiguous", "150 kB, contiguous", **_PHOTO), 6400, 32, "256MB"),
        Case(
            Stored("150kB-gzip-1", "150 kB, gzip, 1 a chunk", 1, GZIP, **_PHOTO), 6400, 32, "256MB"
        ),
        Case(
            Stored("150kB-gzip-8", "150 kB, gzip, 8 a chunk", 8, GZIP, **_PHOTO), 6400, 32, "256MB"
        ),
        Case(Stored("10MB-contiguous", "10 MB, contiguous", **_SCAN), 120, 4, "512MB"),
        Case(Stored("10MB-gzip", "10 MB, gzip, 1 a chunk", 1, GZIP, **_SCAN), 120, 4, "512MB"),
    )
}


def measure(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Measures Headrace and its ceilings on each file, with `measure_entries`."""
    entries = []
    for case in CASES.values():
        rows = max(2 * case.batch + 1, int(case.rows * settings.shape_share))
        ceilings = [DECODE] if case.stored.filters else [TAKE]
        if case.stored.filters and case.stored.row_bytes < TINY:
            # Reordering that many rows takes longer than decoding them.
            ceilings.append(TAKE)
        entries += [Entry(who, replace(case, rows=rows)) for who in (SHUFFLED, *ceilings)]
    return measure_entries(entries, settings, folder, say)
