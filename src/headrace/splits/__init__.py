"""Splits, filters and balances data sets."""

from headrace.splits.balance import balanced
from headrace.splits.filtering import filtered
from headrace.splits.parts import split

__all__ = ["balanced", "filtered", "split"]
