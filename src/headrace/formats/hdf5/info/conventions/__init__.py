"""Conventions: how known programs lay out their HDF5 files.

Each recogniser is a function that finds the objects of a file that follow one convention, and gives
code that reads samples from them. A new convention is a new function and a line in `RECOGNISERS`.
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
"""All recognisers, in the order in which they run: each gets the survey without the datasets that
earlier ones have hidden. A recogniser takes the file's name, for use in code, and the survey."""


@dataclass(frozen=True)
class Recognised:
    """The parts of a file that follow conventions.

    Attributes:
        survey: The file without the datasets that are not fields by themselves.
        roles: Which of the other datasets are x and y; None if that is not clear, or if the
            advice already has code that reads them.
        advice: What was recognised, each with code that reads samples from it.
        folded: Groups that the page shows in one line, each with what it holds.
    """

    survey: Survey
    roles: Roles | None
    advice: list[Advice]
    folded: dict[str, str]


def recognise(path: str, survey: Survey) -> Recognised:
    """Runs all recognisers on a file.

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
