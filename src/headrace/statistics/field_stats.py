"""Computes the statistics of a field (`FieldStats`) from its accumulated counts and moments."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.statistics import key_counts
from headrace.statistics.accumulate import MOST_CHANNELS, FieldAccumulator
from headrace.statistics.distinct import ValueCounts
from headrace.statistics.moments import Moments
from headrace.statistics.summary import (
    FieldStats,
    Histogram,
    Number,
    Summary,
    of_counts,
    of_moments,
    quantiles_of,
)

Array = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]

_ROUNDED = 2.0**-23
"""The relative rounding error of float32."""

_HALF = 1 << 24
"""A factor that makes every float16 an integer."""


def field_stats(work: FieldAccumulator) -> FieldStats:
    """The statistics of all pieces that were added to the accumulator."""
    field = work.field
    about: dict[str, Any] = {
        "name": field.name,
        "shape": field.shape,
        "dtype": str(field.dtype),
        "rows": work.rows,
    }
    values = work.rows * int(np.prod(field.shape, dtype=np.int64))
    if not work.number:
        return FieldStats(**about, count=values, **_classes(work))
    if not values:
        return FieldStats(**about, count=0)
    known, channels = _exact(work) if work.exact else _binned(work)
    return FieldStats(**about, **vars(known), **_classes(work), channels=channels)


def _exact(work: FieldAccumulator) -> tuple[Summary, tuple[Summary, ...]]:
    """Summaries of values of 8 and 16 bits, from exact counts of each value."""
    apart = [
        work.key_counts.between(i * work.span, (i + 1) * work.span)
        for i in range(work.count_groups)
    ]
    keys = np.concatenate([key % work.span for key, _ in apart])
    all_values = _decoded(keys, work.field.dtype)
    combined = _added_up(all_values, np.concatenate([counts for _, counts in apart]))
    summary = _of_values(*combined)
    if work.count_groups > 1:
        found = [_of_values(_decoded(k % work.span, work.field.dtype), c) for k, c in apart]
        return summary, tuple(found)
    return summary, _alone(work, summary) if work.moments is None else _of_channels(work)


def _binned(work: FieldAccumulator) -> tuple[Summary, tuple[Summary, ...]]:
    """Summaries of all other numbers, from moments and histogram bins."""
    assert work.moments is not None
    whole = work.field.dtype.kind != "f"
    apart = [
        work.key_counts.between(i * work.span, (i + 1) * work.span)
        for i in range(work.count_groups)
    ]
    keys = np.concatenate([key % work.span for key, _ in apart])
    combined = work.moments.combined()
    counts = np.concatenate([counts for _, counts in apart])
    histogram = _histogram(keys, counts, whole, of_moments(combined, 0))
    if work.channels == 1 or work.channels > MOST_CHANNELS:
        summary = _summary(combined, 0, _of_distinct(work) or histogram, _near(work, 0))
        return summary, _alone(work, summary)
    summary = _summary(combined, 0, histogram)
    if work.count_groups == 1:
        return summary, _of_channels(work)
    found = []
    for i, (key, counts) in enumerate(apart):
        one = _histogram(key % work.span, counts, whole, of_moments(work.moments, i))
        found.append(_summary(work.moments, i, one, _near(work, i)))
    return summary, tuple(found)


def _groups(work: FieldAccumulator) -> list[tuple[Counts, Counts]]:
    """Keys and counts of each channel, or of all channels where one count covers them."""
    starts = range(0, work.count_groups * work.span, work.span)
    return [work.key_counts.between(start, start + work.span) for start in starts]


def _of_distinct(work: FieldAccumulator) -> Histogram | None:
    """The exact histogram of a field whose distinct values were all counted."""
    if work.distinct is None or work.distinct.too_many:
        return None
    counts = work.distinct.counts
    ascending = np.array(sorted(counts), work.native)
    finite = np.isfinite(ascending)
    times = np.array([counts[value] for value in ascending.tolist()], np.int64)
    return Histogram.of_values(ascending[finite], times[finite], work.field.dtype.kind != "f")


def _near(work: FieldAccumulator, channel: int) -> Histogram | None:
    """The histogram of a channel whose values were counted by their distance to a center."""
    if channel not in work.centers:
        return None
    assert work.moments is not None
    place = list(work.centers).index(channel)
    span = key_counts.FLOAT_KEYS
    bins, counts = work.near.between(place * span, (place + 1) * span)
    known = of_moments(work.moments, channel)
    center = work.centers[channel].item()
    whole = work.field.dtype.kind != "f"
    return _histogram(bins % span, counts, whole, known, center)


def _alone(work: FieldAccumulator, summary: Summary) -> tuple[Summary, ...]:
    """The channels of a field with one channel, or whose channels were not counted apart."""
    return (summary,) if work.field.shape and work.channels == 1 else ()


def _of_channels(work: FieldAccumulator) -> tuple[Summary, ...]:
    """Channels of which only moments are known: without quantiles."""
    assert work.moments is not None
    return tuple(_summary(work.moments, i, None) for i in range(work.channels))


def _summary(
    moments: Moments, channel: int, histogram: Histogram | None, near: Histogram | None = None
) -> Summary:
    """The summary of a channel, from its moments and histograms."""
    known = of_moments(moments, channel)
    infinite = int(moments.infinite[channel])
    return Summary(
        count=int(moments.count[channel]) + infinite,
        missing=int(moments.missing[channel]),
        infinite=infinite,
        **known,
        quantiles={} if histogram is None else quantiles_of(histogram, known, near),
        histogram=histogram
        if near is None or histogram is None or histogram.values is not None
        else near,
    )


def _of_values(values: Array, counts: Counts) -> Summary:
    """The summary of values of 8 or 16 bits with their counts, in any order."""
    missing = infinite = 0
    scale = 1
    if values.dtype.kind == "f":
        missing = int(counts[np.isnan(values)].sum())
        infinite = int(counts[np.isinf(values)].sum())
        finite = np.isfinite(values)
        values, counts, scale = values[finite], counts[finite], _HALF
    order = np.argsort(values, kind="stable")
    values, counts = values[order], counts[order]
    known = of_counts(values.tolist(), counts.tolist(), scale)
    histogram = Histogram.of_values(values, counts, scale == 1)
    return Summary(
        count=int(counts.sum()) + infinite,
        missing=missing,
        infinite=infinite,
        **known,
        quantiles=quantiles_of(histogram, known),
        histogram=histogram,
    )


def _histogram(
    bins: Counts, counts: Counts, whole: bool, known: Mapping[str, Any], center: Number = 0
) -> Histogram:
    """The histogram of bins in any order, which may repeat.

    Args:
        bins: Bins of the values minus `center`.
        counts: How many values each holds.
        whole: Whether the values are whole numbers.
        known: Their `min` and `max`, if there are any.
        center: What was subtracted.
    """
    bins, counts = _added_up(bins, counts)
    low, high = key_counts.bounds_of(bins)
    if whole:
        # A bin holds its bound that is nearer to 0, and not the other.
        low, high = (
            np.where(low < 0, np.floor(low) + 1, np.ceil(low)),
            np.where(high > 0, np.ceil(high) - 1, np.floor(high)),
        )
    if center:
        # Distances were rounded to float32 before they were counted.
        rounded = np.maximum(np.abs(low), np.abs(high)) * _ROUNDED
        if whole:
            rounded = np.where(rounded < 1, 0, np.ceil(rounded))
        low, high = low - rounded, high + rounded
    if known:
        low, high = (np.clip(bound + center, known["min"], known["max"]) for bound in (low, high))
    order = np.argsort(low, kind="stable")
    return Histogram(low[order], high[order], counts[order], whole)


def _decoded(keys: Counts, dtype: np.dtype[Any]) -> Array:
    """Converts keys back to values of 8 or 16 bits."""
    if dtype.itemsize == 1:
        return keys.astype(np.uint8).view(np.int8 if dtype.kind == "i" else np.uint8)
    return keys.astype(np.uint16).view(dtype.newbyteorder("="))


def _added_up(values: Array, counts: Counts) -> tuple[Array, Counts]:
    """Merges equal values and adds up their counts."""
    unique, place = np.unique(values, return_inverse=True)
    total = np.zeros(len(unique), np.int64)
    np.add.at(total, place, counts)
    return unique, total


def _classes(work: FieldAccumulator) -> dict[str, Any]:
    """The distinct values of a field of one value a sample, or of one-hot rows."""
    if work.ones is not None:
        counts = work.ones.tolist()
        return {"classes": dict(enumerate(counts)), "distinct": sum(map(bool, counts))}
    if work.distinct is None:
        return {}
    if work.exact:
        _count_all(work)
    if work.distinct.too_many:
        return {"more_than": work.distinct.limit}
    classes = dict(sorted(work.distinct.counts.items()))
    return {"classes": classes, "distinct": len(classes)}


def _count_all(work: FieldAccumulator) -> None:
    """Fills in the distinct values of 8 or 16 bits from their exact counts."""
    assert work.distinct is not None
    keys, counts = work.key_counts.between(0, work.span)
    values = _decoded(keys, work.field.dtype)
    if values.dtype.kind == "f":
        there = ~np.isnan(values)
        # Adding 0 makes one value of 0.0 and -0.0.
        values, counts = values[there] + values.dtype.type(0), counts[there]
    if work.field.dtype.kind == "b":
        values = values.astype(np.bool_)
    found = ValueCounts(*_added_up(values, counts))
    work.distinct.add(found if len(found.values) <= work.distinct.limit else None)
