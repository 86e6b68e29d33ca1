"""Which rows go together: parts of a data set, rows that are kept, classes that are balanced."""

from penstock.splits.balance import balanced
from penstock.splits.filtering import filtered
from penstock.splits.parts import split

__all__ = ["balanced", "filtered", "split"]
