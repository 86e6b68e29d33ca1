"""Statistics as a JSON document (dicts, lists, numbers, text)."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.spec import Spec
from headrace.statistics.summary import FieldStats, Histogram, Summary

BINS = 50
"""Most bins of a histogram."""


def describe(spec: Spec, stats: Mapping[str, FieldStats]) -> dict[str, Any]:
    """All statistics as a JSON document.

    Args:
        spec: The fields and their places in a batch.
        stats: The statistics of each field.

    Returns:
        `rows`; `x`, `y` and `sample_weight` in the structure of a batch; and `fields`, a list. A
        number that is not finite is None, and bytes that are not UTF-8 become backslash escapes.
    """
    return {
        "rows": next(iter(stats.values())).rows,
        "x": spec.x,
        "y": spec.y,
        "sample_weight": spec.sample_weight,
        "fields": [_field(field) for field in stats.values()],
    }


def _field(field: FieldStats) -> dict[str, Any]:
    classes = None
    if field.classes is not None:
        classes = [{"value": _value(v), "count": n} for v, n in field.classes.items()]
    return {
        "name": field.name,
        "shape": list(field.shape),
        "dtype": field.dtype,
        **_summary(field),
        "distinct": field.distinct,
        "more_than": field.more_than,
        "classes": classes,
        "channels": [_summary(channel) for channel in field.channels],
        "histogram": histogram_of(field.histogram),
    }


def _summary(summary: Summary) -> dict[str, Any]:
    return {
        "count": summary.count,
        "missing": summary.missing,
        "infinite": summary.infinite,
        "min": summary.min,
        "max": summary.max,
        "mean": _value(summary.mean),
        "std": _value(summary.std),
        "quantiles": {repr(share): value for share, value in summary.quantiles.items()},
    }


def histogram_of(histogram: Histogram | None, bins: int = BINS) -> dict[str, Any] | None:
    """The histogram as bins of equal width: `bins + 1` edges and `bins` counts.

    For integers each bin spans the same number of integers, with edges halfway between them.
    None where there are no values.
    """
    if histogram is None or not len(histogram.counts):
        return None
    low, high = float(histogram.low[0]), float(histogram.high[-1])
    if histogram.whole:
        width = max(1, math.ceil((high - low + 1) / bins))
        edges = low - 0.5 + width * np.arange(math.ceil((high - low + 1) / width) + 1)
    elif low == high:
        edges = np.array([low, np.nextafter(low, np.inf)])
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            edges = np.linspace(low, high, bins + 1)
    if not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
        # The range exceeds the largest float, or is narrower than the spacing of floats.
        edges = np.array([low, high])
    return {"edges": edges.tolist(), "counts": histogram.in_bins(edges).tolist()}


def _value(value: Any) -> Any:
    """Converts a value to one that JSON has."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
