"""The description of an HDF5 file that `headrace info` shows."""

from dataclasses import replace

from headrace.formats.advice import Advice
from headrace.formats.base import Description
from headrace.formats.hdf5.info import data_advice, storage_advice
from headrace.formats.hdf5.info.conventions import recognise
from headrace.formats.hdf5.info.document import document_of, legend_of, summary_of
from headrace.formats.mixing import Setting
from headrace.sources.hdf5.survey import MOST_OBJECTS, Survey, survey


def describe(file: str, setting: Setting, limit: int | None = None) -> Description:
    """What is in an HDF5 file, how it will be read, and what would make it train better.

    Args:
        file: The file, as it is to be named in commands.
        setting: What the advice is for.
        limit: The most objects to look at; those near the root come first.
    """
    found = survey(file, limit or MOST_OBJECTS)
    known = recognise(file, found)
    said = {name for one in known.advice for name in one.columns}
    advice = [
        *known.advice,
        *storage_advice.advise(file, known.survey, setting),
        *(
            one
            for one in data_advice.advise(file, known.survey, known.roles, setting)
            if one.kind != "unusable-type" or one.columns[0] not in said
        ),
    ]
    document = document_of(file, found, replace(known, advice=advice), setting)
    return Description(
        document, summary_of(document), legend_of(document), tuple(_damage(found, advice))
    )


def _damage(found: Survey, advice: list[Advice]) -> list[str]:
    """The errors of all damaged objects of the file."""
    errors = [str(item.error) for item in found.everything() if item.damaged]
    errors += [str(found.root.error)] if found.root.damaged else []
    return errors + [one.text for one in advice if one.kind == "damaged"]
