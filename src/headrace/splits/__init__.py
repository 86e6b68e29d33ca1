"""Which rows go together: parts of a data set, rows that are kept, classes that are balanced."""

from headrace.splits.balance import balanced
from headrace.splits.filtering import filtered
from headrace.splits.parts import split

__all__ = ["balanced", "filtered", "split"]
