"""Conventions: how programs lay out their HDF5 files, known by the marks that they leave there.

Each recogniser is a function that says what of a file follows one convention, and which code of
today makes samples of it. To know one more is to write one more, with a line in the table.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from headrace.formats.advice import Advice
from headrace.formats.hdf5.info.conventions import (
    keras,
    matlab,
    netcdf,
    nwb,
    pytables,
    ragged,
    samples,
    sparse,
    values,
)
from headrace.formats.hdf5.info.conventions.finding import Finding
from headrace.formats.hdf5.info.fields import guess
from headrace.formats.roles import Roles
from headrace.sources.hdf5.survey import Survey

RECOGNISERS: tuple[Callable[[str, Survey], Iterator[Finding]], ...] = (
    keras.weights,
    nwb.nwb,
    sparse.anndata,
    sparse.matrices,
    matlab.matlab,
    pytables.indexes,
    pytables.frames,
    netcdf.scales,
    samples.samples,
    pytables.tables,
    ragged.ragged,
    values.complex_numbers,
    values.text_labels,
    netcdf.packed,
)
"""Who is asked, in this order: each sees what those before did not hide. Takes the file, as it is
to be named in code, and what is in it."""


@dataclass(frozen=True)
class Recognised:
    """What of a file follows conventions.

    Attributes:
        survey: What is in the file, without the datasets that are no fields by themselves.
        roles: Which of the others are x and y; None where that is not clear, or where advice
            says how to go on.
        advice: What they are, and code that makes samples of them.
        folded: Groups whose content is left out of the page, each with what it is.
    """

    survey: Survey
    roles: Roles | None
    advice: list[Advice]
    folded: dict[str, str]


def recognise(path: str, survey: Survey) -> Recognised:
    """Asks all recognisers about a file.

    Args:
        path: The file, as it is to be named in code.
        survey: What is in it.
    """
    findings: list[Finding] = []
    for recogniser in RECOGNISERS:
        found = list(recogniser(path, survey))
        survey = survey.without(name for one in found for name in one.hidden)
        findings += found
    said = [one.roles for one in findings if one.roles]
    roles = said[0] if said else None
    if not any(one.answered for one in findings):
        roles = guess(survey.datasets())
    return Recognised(
        survey,
        roles,
        [one.advice for one in findings if one.advice],
        {name: what for one in findings for name, what in one.folded.items()},
    )
