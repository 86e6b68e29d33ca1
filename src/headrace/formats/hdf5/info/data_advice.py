"""Advice on the data themselves: rows sorted by class, missing rows, types that no model takes."""

from collections import Counter
from collections.abc import Iterator

from headrace.errors import TypeNotSupportedError
from headrace.formats.advice import Advice
from headrace.formats.hdf5.info import unwritten
from headrace.formats.hdf5.info.fields import READER, fields_of, numbers, read_together
from headrace.formats.hdf5.info.storage_advice import NEARLY
from headrace.formats.mixing import Setting
from headrace.formats.roles import Roles
from headrace.formats.sorted_rows import is_column_of_classes, sorted_rows
from headrace.sources.hdf5.survey import Survey


def advise(path: str, survey: Survey, roles: Roles | None, setting: Setting) -> list[Advice]:
    """Advice on the data in a file, for a person who is about to train on it.

    Args:
        path: The file, as it is to be named in commands.
        survey: What is in it.
        roles: Which datasets are likely x and y.
        setting: The memory and batch size that the advice is for.
    """
    found = [advice for item in survey.datasets() for advice in unwritten.advise(path, item, roles)]
    found += _too_short(path, survey)
    found += _unusable(survey)
    return found + list(_sorted_rows(path, survey, roles, setting))


# Rows that are missing.


def _too_short(path: str, survey: Survey) -> Iterator[Advice]:
    """Datasets that are a little shorter than several others beside them."""
    fields = fields_of(survey.datasets())
    lengths: dict[tuple[str, int], list[str]] = {}
    for item in survey.datasets():
        if item.source and not item.error:
            place = item.name.rpartition("/")[0], item.source.length
            lengths.setdefault(place, []).append(item.name)
    beside = Counter(folder for (folder, _), names in lengths.items() for _ in names)
    for (folder, length), names in lengths.items():
        for (other_folder, more), others in lengths.items():
            near = folder == other_folder and length < more <= length * (1 + NEARLY)
            usual = len(others) > max(1, beside[folder] // 2)
            if near and len(names) == 1 and usual:
                text = (
                    f"It has {length:,} rows, and {', '.join(others[:3])} have {more:,}: fields of "
                    f"one data set need the same number. Write the other {more - length:,}, leave "
                    f"this field out, or leave out the rows that it lacks, with end={length}."
                )
                call = read_together(path, [*others, *names], fields, length)
                yield Advice("unequal-lengths", (names[0],), text, "python", call)


# Types that no model takes.


def _unusable(survey: Survey) -> Iterator[Advice]:
    """Datasets with a row for each sample whose type no model takes."""
    lengths = {item.source.length for item in survey.datasets() if item.source}
    for item in survey.datasets():
        rows = item.storage.length if item.storage else 0
        if isinstance(item.error, TypeNotSupportedError) and rows in lengths:
            yield Advice("unusable-type", (item.name,), f"It {item.said(survey.path)}")


# Rows sorted by class.


def _sorted_rows(
    path: str, survey: Survey, roles: Roles | None, setting: Setting
) -> Iterator[Advice]:
    usable = {item.name: item for item in survey.datasets() if numbers(item)}
    if not usable:
        return
    main = max(usable.values(), key=lambda item: (item.storage and item.storage.decoded_bytes) or 0)
    if roles:
        main = usable[roles.x]
    assert main.storage
    # A virtual dataset may declare any length; its blocks are too small to matter.
    mixed = None if main.storage.layout == "virtual" else main.source
    columns = {
        name: item.source
        for name, item in usable.items()
        if item.source
        and is_column_of_classes(item.source.fields[0])
        and item.source.length == (main.source and main.source.length)
    }
    yield from sorted_rows(
        columns, roles, main.name, mixed, setting, lambda named: named.call(READER, path)
    )
