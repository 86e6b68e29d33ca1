"""The sections of the results on packing, writing, statistics and splits."""

from collections.abc import Iterator
from statistics import median
from typing import Any

from benchmarks import pack, splits, stats, write
from benchmarks.tables import section, speed, ways

Record = dict[str, Any]


def pack_section(record: Record, _: bool) -> Iterator[str]:
    settings, runs = record["settings"], record["pack"]["runs"]
    text = (
        f"{settings['rows']:,} images of 32x32x3 bytes with a label, read from the page cache "
        f"and written to the disk, with a budget of {settings['pack_memory']}; medians of "
        f"{settings['repeat']} rounds. The last column compares with the slower of reading and "
        "writing alone in the same round, or, for training, with the original file."
    )
    rows = []
    for case in (*pack.CASES, pack.EPOCHS):
        found = pack.speeds_of(runs, case)
        for way, one in found.items():
            share = pack.shares_of(found, way)
            shown = f"{median(share):.2f} ({min(share):.2f} - {max(share):.2f})" if share else "-"
            rows.append((f"{case}: {way}", *speed(one), shown))
    yield from section("Packing", text, ("", "MB/s", "min - max", "ratio"), rows)
    for run in runs:
        if run["case"] == pack.QUALITY:
            yield ""
            yield (
                f"A file sorted by class, {run['way']}: design effect {run['design_effect']:.2f}, "
                f"same block {run['same_block']:.2f}, label bits {run['label_entropy']:.2f} of "
                f"{run['label_entropy_exact']:.2f} (1, 1 and equal are an exact shuffle)."
            )


def write_section(record: Record, _: bool) -> Iterator[str]:
    settings = record["settings"]
    text = (
        f"{settings['rows']:,} images of 32x32x3 bytes with a label from arrays in memory, in "
        f"batches of {settings['batch']}, and a tenth of them row by row, to the disk; "
        f"medians of {settings['repeat']} rounds."
    )
    head = ("", "MB/s", "min - max", "samples/s", "end, ms", "/ pwrite")
    yield from section("Writing", text, head, list(write.rows_of(record["write"])))


def stats_section(record: Record, _: bool) -> Iterator[str]:
    settings = record["settings"]
    text = (
        f"Mean, standard deviation, minimum, maximum and quantiles of each channel of "
        f"{settings['rows']:,} images with gzip, and of each column of a contiguous table with "
        f"{stats.TABLE_ROWS * settings['rows']:,} rows of {stats.COLUMNS} float32; warm, "
        f"Headrace's budget is {settings['stats_memory']}, medians of {settings['repeat']} rounds. "
        "The loop has no quantiles. Arrays in RAM were loaded before."
    )
    yield from section("Statistics", text, *ways(record["stats"]["runs"]))


def splits_section(record: Record, _: bool) -> Iterator[str]:
    count = record["settings"]["split_rows"]
    text = f"{count:,} rows of one byte in memory, of ten classes; medians of the rounds."
    head = ("", "seconds", "ns a row", "held, bytes a row", "at its peak")
    yield from section("Splits", text, head, splits.table(record["splits"]))
