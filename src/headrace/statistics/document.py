"""Statistics as a JSON document."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.spec import Spec
from headrace.statistics.summary import FieldStats, Histogram, Summary

BINS = 50
"""Of a histogram, at most."""


def describe(spec: Spec, rows: int, fields: Sequence[FieldStats]) -> dict[str, Any]:
    """All statistics of a data set.

    Returns:
        `rows`; `x`, `y` and `sample_weight` in the structure of a batch; and `fields`, a list. A
        number that is not finite is None, and text that is no UTF-8 shows its bytes as Python does.
    """
    return {
        "rows": rows,
        "x": spec.x,
        "y": spec.y,
        "sample_weight": spec.sample_weight,
        "fields": [_field(field) for field in fields],
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
    """Edges, of which there is one more, and counts of bins of equal width over all values.

    Whole numbers have a bin for as many of them each, centred on the first ones. None where there
    are no values.
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
        # Further apart than the largest float, or closer together than floats are there.
        edges = np.array([low, high])
    return {"edges": edges.tolist(), "counts": histogram.in_bins(edges).tolist()}


def _value(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
