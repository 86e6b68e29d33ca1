"""Which rows go together: parts of a data set, rows that are kept, classes that are balanced."""

from penstock.splits.filtering import FilterFn, filtered
from penstock.splits.parts import split

__all__ = ["FilterFn", "filtered", "split"]
