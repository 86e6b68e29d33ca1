"""Balances classes: the number of samples of each class in an epoch."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.errors import OptionError, check_integer
from headrace.loading import View
from headrace.order import BalancedSampler, largest_remainder
from headrace.resources import check_memory
from headrace.splits.classes import MOST_CLASSES, Classes
from headrace.splits.grouping import Grouping

_ROW_BYTES = 10
"""Bytes for each of up to 4 billion rows: see `headrace.order.BalancedSampler`."""


def balanced(
    view: View,
    given: Any,
    *,
    weights: Mapping[Any, float] | None,
    length: int | None,
    seed: int,
) -> BalancedSampler:
    """The sampler of a balanced data set; see `Dataset.balance`."""
    check_integer("seed", seed, 0)
    check_integer("length", length, 1, or_none=True)
    if not len(view):
        raise OptionError("The data set has no rows, so there is nothing to balance.")
    check_memory(_ROW_BYTES * len(view), f"Balancing {len(view)} rows", "Balance fewer rows.")
    column = Grouping(view, given, "field of balance()")
    classes = Classes(
        column.labels,
        column.name,
        MOST_CLASSES,
        "Give an array of fewer classes, such as np.digitize() makes.",
    )
    shares = [1.0] * len(classes) if weights is None else _shares(weights, classes)
    quotas = largest_remainder(len(view) if length is None else int(length), shares)
    none = [v for v, q, w in zip(classes.values, quotas, shares, strict=True) if w and not q]
    if none:
        raise OptionError(
            f"An epoch of {quotas.sum():,} samples has none of class {none[0]!r}. Give a larger "
            "length=, or weight 0 to the classes that should not come."
        )
    codes = np.empty(len(view), np.uint8 if len(classes) <= 1 << 8 else np.uint16)
    start = 0
    for run in classes.codes():
        codes[start : start + len(run)] = run
        start += len(run)
    return BalancedSampler(codes, quotas, int(seed))


def _shares(weights: Mapping[Any, float], classes: Classes) -> list[float]:
    """The share of each class, in the order of the classes."""
    there = set(classes.values)
    if not isinstance(weights, Mapping) or weights.keys() != there:
        raise OptionError(
            "Expected weights= to be a dict with a share for each class, 0 to leave one out. "
            f"Received: {weights!r}. The classes are, with their rows: {classes.listed()}"
        )
    shares = [weights[value] for value in classes.values]
    for value, share in zip(classes.values, shares, strict=True):
        number = isinstance(share, (int, float, np.integer, np.floating))
        if not number or isinstance(share, bool) or not 0 <= share < np.inf:
            raise OptionError(
                f"Expected the weight of class {value!r} to be a number of 0 or more. "
                f"Received: {share!r}"
            )
    if not any(shares):
        raise OptionError("Expected a weight above 0. All classes have weight 0.")
    return [float(share) for share in shares]
