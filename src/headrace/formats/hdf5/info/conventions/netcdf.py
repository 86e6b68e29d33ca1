"""netCDF and its like: coordinates beside the data, and numbers that stand for others."""

import math
from collections.abc import Iterator

from headrace.formats.advice import Advice
from headrace.formats.hdf5.info.conventions.finding import Finding, from_hdf5
from headrace.formats.hdf5.info.fields import guess, numbers
from headrace.formats.roles import Roles
from headrace.sources.hdf5.survey import Found, Survey

_MOST_EXACT = 3
"""Bytes of the integers that float32 holds all of."""


def scales(path: str, survey: Survey) -> Iterator[Finding]:  # noqa: ARG001
    """Dimension scales: the coordinates along an axis of other datasets, such as times."""
    found = [i for i in survey.datasets() if i.marks.get("CLASS") == "DIMENSION_SCALE"]
    if found:
        yield Finding(hidden=frozenset(item.name for item in found), answered=False)


def packed(path: str, survey: Survey) -> Iterator[Finding]:
    """Numbers that have to be scaled, or that stand for missing values."""
    items = {item.name: item for item in survey.datasets() if numbers(item)}
    found = [item for item in items.values() if _scale(item) or _missing(item)]
    if not found:
        return
    roles = guess(survey.datasets())
    if roles is None:
        # Which of them is x, a person has to say.
        largest = max(found, key=lambda i: (i.storage and i.storage.decoded_bytes) or 0)
        roles = Roles(largest.name)
    x, y = items[roles.x], items.get(roles.y or "")
    if x not in found and y not in found:
        return
    steps = _steps("x", x, labels=False)
    if y is not None:
        steps += _steps("y", y, labels=True)
    if not steps:
        return
    parts = ", ".join(name for name, role in zip("xy", roles, strict=False) if role)
    if roles.sample_weight:
        parts += ", weight"
    lines = ["import numpy as np", "import headrace as hr", "", f"def unpack({parts}):"]
    lines += [f"    {step}" for step in steps]
    # A function of x alone gives x.
    lines += [f"    return {parts}", ""]
    lines += [from_hdf5(path, **roles._asdict()), "data = data.map(unpack)"]
    text = " ".join(_said(item) for item in (x, y) if item in found and item is not None)
    text += " from_hdf5 gives the numbers as they are stored; this makes values of them:"
    names = tuple(i.name for i in (x, y) if i is not None and i in found)
    yield Finding(Advice("packed-values", names, text, "python", "\n".join(lines)))


def _scale(item: Found) -> tuple[float, float] | None:
    """By what stored numbers are multiplied, and what is added then; None where nothing is done."""
    factor = _number(item.marks.get("scale_factor"), 1.0)
    offset = _number(item.marks.get("add_offset"), 0.0)
    return None if (factor, offset) == (1.0, 0.0) else (factor, offset)


def _missing(item: Found) -> list[float]:
    """Stored numbers that stand for no value."""
    values = [_number(item.marks.get(n), math.nan) for n in ("_FillValue", "missing_value")]
    return list(dict.fromkeys(value for value in values if not math.isnan(value)))


def _number(value: object, otherwise: float) -> float:
    return value if isinstance(value, (int, float)) and math.isfinite(value) else otherwise


def _said(item: Found) -> str:
    """What is noted beside a dataset, as sentences."""
    scale, missing = _scale(item), _missing(item)
    text = ""
    if scale:
        text += (
            f"Values of {item.name} are stored packed: a value is the number times {scale[0]:g} "
            f"(scale_factor) plus {scale[1]:g} (add_offset). "
        )
    if missing:
        said = " and ".join(f"{value:g}" for value in missing)
        text += f"In {item.name}, {said} stands for a missing value (_FillValue). "
    return text.strip()


def _steps(name: str, item: Found, *, labels: bool) -> list[str]:
    """Lines of code that make values of stored numbers."""
    scale, missing = _scale(item), _missing(item)
    if labels and not scale:
        # Class numbers stay as they are.
        return []
    field = numbers(item)
    assert field
    small = field.dtype.itemsize < _MOST_EXACT or field.dtype == "f4"
    kind = "float32" if small else "float64"
    steps = []
    if missing:
        steps.append(f"missing = np.isin({name}, {missing!r})")
    if str(item.marks.get("_Unsigned")) == "true" and field.dtype.kind == "i":
        steps.append(f'{name} = {name}.view("u{field.dtype.itemsize}")')
    values = f'{name}.astype("{kind}")'
    if scale:
        values += f" * {scale[0]!r} + {scale[1]!r}"
    steps.append(f"{name} = {values}")
    if missing:
        steps.append(f"{name}[missing] = np.nan")
    return steps
