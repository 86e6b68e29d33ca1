"""Similar objects of a group, of which `info` shows one: equal types, numbered names."""

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from headrace.sources.hdf5.survey import Found

FEW = 5
"""Up to so many similar objects with numbered names are shown one by one."""

MANY = 20
"""Up to so many similar objects with any names are shown one by one: they fill a screen."""


def form(item: Found) -> Hashable:
    """The form of an object: equal for all that hold values of one kind, whatever their sizes."""
    if item.kind == "dataset" and item.storage:
        return item.storage.dtype, len(item.storage.shape or ()), item.error is None
    if item.kind == "group" and len(item.children) == item.inside:
        return frozenset((child.leaf, form(child)) for child in item.children)
    return item.kind if item.kind == "group" else None


def numbered(items: Iterable[Found]) -> bool:
    """Whether names differ in nothing but numbers."""
    return len({pattern(item) for item in items}) == 1


def first_alike(children: Sequence[Found]) -> dict[str, str]:
    """Maps each object that is one of many similar ones to the first of them, by their names."""
    kinds = {item.name: (form(item), pattern(item)) for item in children}
    by_name = Counter(kinds.values())
    by_form = Counter(kind for kind, _ in kinds.values())
    first: dict[Hashable, str] = {}
    found = {}
    for item in children:
        kind = kinds[item.name]
        key: Hashable = kind
        if kind[0] is None:
            continue
        if by_form[kind[0]] > MANY:
            key = kind[0]
        elif by_name[kind] <= FEW:
            continue
        found[item.name] = first.setdefault(key, item.name)
    return found


def pattern(item: Found) -> str:
    """The name of an object in its group, without its numbers."""
    return re.sub(r"\d+", "#", item.leaf)
