"""The result of a recogniser, and helpers that recognisers share."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from headrace.formats.advice import Advice
from headrace.formats.hdf5.info.fields import READER
from headrace.formats.roles import Roles, python_call
from headrace.sources.hdf5.survey import Found

_WIDTH = 79


@dataclass(frozen=True)
class Finding:
    """Objects of a file that follow a convention, and what to do about them.

    Attributes:
        advice: What they are, and code of today that makes samples of them; None if there is
            nothing to say.
        hidden: Datasets that are no fields of samples by themselves: neither offered as x or y,
            nor judged by how they are stored.
        folded: Groups that the page shows in one line, each with what it holds, in a few words.
        roles: Which datasets are x and y, where the convention says so.
        answered: Whether the advice says how to go on, or that there is no way, so that nothing
            else is offered.
    """

    advice: Advice | None = None
    hidden: frozenset[str] = frozenset()
    folded: Mapping[str, str] = field(default_factory=dict)
    roles: Roles | None = None
    answered: bool = True


def names_of(items: Iterable[Found]) -> frozenset[str]:
    """The names of objects."""
    return frozenset(item.name for item in items)


def below(group: Found) -> list[Found]:
    """All datasets in a group and in the groups in it, as far as they were looked at."""
    found: list[Found] = []
    waiting = list(reversed(group.children))
    while waiting:
        item = waiting.pop()
        if item.kind == "dataset":
            found.append(item)
        waiting += reversed(item.children)
    return found


def shape_of(item: Found) -> tuple[int, ...]:
    """A dataset's shape; () where it has none."""
    return (item.storage.shape if item.storage else None) or ()


def is_text(item: Found) -> bool:
    """Whether a dataset holds text, of fixed length or any."""
    return item.storage is not None and (item.storage.dtype == "text" or item.storage.kind == "S")


def from_hdf5(path: str, **parts: object) -> str:
    """Code that makes `data` of datasets, in lines that fit a terminal."""
    code = "data = " + python_call(READER, repr(path), **parts)
    if len(code) <= _WIDTH:
        return code
    lines = [repr(path), *(f"{k}={v!r}" for k, v in parts.items() if v is not None)]
    return "data = hr.from_hdf5(\n" + "".join(f"    {line},\n" for line in lines) + ")"
