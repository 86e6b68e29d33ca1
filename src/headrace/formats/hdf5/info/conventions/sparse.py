"""Sparse matrices in three arrays: AnnData, 10x Genomics, MATLAB, and programs that use scipy."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from headrace.errors import HeadraceError
from headrace.formats.advice import Advice
from headrace.formats.hdf5.info.conventions.finding import Finding, below, names_of, shape_of
from headrace.formats.roles import Roles, is_label
from headrace.resources import format_bytes
from headrace.sources.hdf5.marks import first_values
from headrace.sources.hdf5.survey import Found, Survey

_BY_ROW = """\
import h5py
import numpy as np
import headrace as hr

class Rows:
    def __init__(self, group, columns):
        self.group, self.ends = group, group[{ends}][:]
        self.shape = (len(self.ends) - 1, columns)

    def __getitem__(self, rows):
        ends = self.ends[rows.start : rows.stop + 1]
        stored = slice(ends[0], ends[-1])
        values = self.group["data"][stored]
        columns = self.group[{places}][stored]
        dense = np.zeros((len(ends) - 1, self.shape[1]), values.dtype)
        dense[np.repeat(np.arange(len(dense)), np.diff(ends)), columns] = values
        return dense

h5 = h5py.File({path})
x = Rows(h5[{group}], columns={columns})
"""

_BY_COLUMN = """\
import h5py
import headrace as hr
from scipy.sparse import csc_matrix

h5 = h5py.File({path})
parts = [h5[{group}][name][:] for name in ("data", {places}, {ends})]
x = csc_matrix(tuple(parts), shape={shape}).tocsr()
"""

_PARTS = (("indices", "indptr"), ("ir", "jc"))
"""Pairs of names of the arrays beside `data`: of the indices, and of the pointers to row or column
ends."""

_BESIDE = ("layers", "obsm", "obsp", "raw", "uns", "var", "varm", "varp")
"""Groups of AnnData that are neither samples nor labels."""


@dataclass(frozen=True)
class _Matrix:
    """A sparse matrix.

    Attributes:
        group: Its group.
        places, ends: Names of its arrays of indices and of pointers.
        shape: Samples first; None for columns of which nothing says how many there are.
        by_row: Whether the values of a sample are stored side by side.
    """

    group: Found
    places: str
    ends: str
    shape: tuple[int, int | None]
    by_row: bool

    @property
    def said(self) -> str:
        """Its shape in words."""
        rows, columns = self.shape
        return f"{rows:,} rows" + ("" if columns is None else f" of {columns:,}")

    def code(self, path: str, y: str) -> str:
        """Code that makes a data set of it."""
        form = _BY_ROW if self.by_row else _BY_COLUMN
        columns: int | str | None = self.shape[1]
        if columns is None:
            columns = f"int(h5[{f'{self.group.name}/{self.places}'!a}][:].max()) + 1"
        x = form.format(
            path=ascii(path),
            group=ascii(self.group.name or "/"),
            places=ascii(self.places),
            ends=ascii(self.ends),
            columns=columns,
            shape=self.shape,
        )
        return f"{x}data = hr.from_arrays(x{y and f', {y}'})"


def anndata(path: str, survey: Survey) -> Iterator[Finding]:
    """Files of AnnData: a matrix X of cells, with notes on them in obs."""
    if survey.root.marks.get("encoding-type") != "anndata":
        return
    others = names_of(survey.datasets())
    code = _category(survey)
    labels = f"{code.removesuffix('/codes')} as labels" if code else "no categories as labels"
    about = f"This is an AnnData file: the rows of X are the samples (cells), with {labels}"
    found = {item.name: item for item in survey.root.children}
    x = found.get("X")
    folded = {name: "beside X" for name in _BESIDE if name in found and found[name].children}
    if x is not None and x.kind == "dataset":
        roles = Roles("X", code)
        advice = Advice("anndata", ("X",), f"{about}.")
        yield Finding(advice, others - set(roles.names), folded, roles)
    elif x is not None and (matrix := _matrix(path, x)):
        finding = _finding(path, matrix, "anndata", f"{about}.", code, others)
        yield replace(finding, folded=folded)
    else:
        yield Finding(
            Advice("anndata", ("/",), "This is an AnnData file without a matrix X."), others
        )


def matrices(path: str, survey: Survey) -> Iterator[Finding]:
    """Other groups that hold the three arrays of a sparse matrix."""
    for group in survey.groups():
        matrix = _matrix(path, group)
        if matrix is None or {item.name for item in below(group)} <= survey.hidden:
            continue
        labels = [
            item.name
            for item in survey.datasets()
            if is_label(item.name) and shape_of(item) == (matrix.shape[0],)
        ]
        y = labels[0] if len(labels) == 1 else None
        hidden = names_of(below(group)) if group.name else names_of(group.children)
        about = "Its arrays are one matrix."
        yield _finding(path, matrix, "sparse-matrix", about, y, hidden - set(labels))


def _finding(
    path: str, matrix: _Matrix, kind: str, about: str, y: str | None, hidden: frozenset[str]
) -> Finding:
    text = f"{about} It is sparse, {matrix.said}: only values other than 0 are stored. "
    if matrix.by_row:
        text += "This makes rows dense batch by batch:"
    else:
        stored = sum((i.storage.decoded_bytes or 0) for i in matrix.group.children if i.storage)
        text += (
            "It is stored column by column, so that all of it is loaded to get at rows "
            f"({format_bytes(stored)}), and made dense batch by batch:"
        )
    code = matrix.code(path, (y and f"h5[{y!a}][:]") or "")
    advice = Advice(kind, (matrix.group.name or "/",), text, "python", code)
    return Finding(advice, hidden)


def _matrix(path: str, group: Found) -> _Matrix | None:
    """The sparse matrix that a group holds, if it does."""
    inside = {item.leaf: item for item in group.children if item.kind == "dataset"}
    for places, ends in _PARTS:
        parts = [inside[name] for name in ("data", places, ends) if name in inside]
        if len(parts) == 3 and shape_of(parts[0]) == shape_of(parts[1]) != ():
            break
    else:
        return None
    length = shape_of(parts[2])[0] - 1 if shape_of(parts[2]) else 0
    if length < 1:
        return None
    rows = group.marks.get("MATLAB_sparse")
    if isinstance(rows, int):
        return _Matrix(group, places, ends, (rows, length), False)
    shape = _shape(path, group, inside)
    if not shape:
        return _Matrix(group, places, ends, (length, None), True)
    said = str(group.marks.get("encoding-type") or group.marks.get("h5sparse_format") or "")
    if len(shape) != 2:
        return None
    rows, columns = shape
    if "barcodes" in inside and length == columns:
        # 10x Genomics: each column is a cell.
        return _Matrix(group, places, ends, (columns, rows), True)
    by_row = said.startswith("csr") or (not said and length == rows)
    if length != (rows if by_row else columns):
        return None
    return _Matrix(group, places, ends, (rows, columns), by_row)


def _shape(path: str, group: Found, inside: dict[str, Found]) -> tuple[int, ...]:
    """What is noted as the shape of a matrix; () where nothing is."""
    noted = group.marks.get("shape") or group.marks.get("h5sparse_shape")
    if noted is None and "shape" in inside and shape_of(inside["shape"]) == (2,):
        try:
            noted = first_values(path, inside["shape"].name, 2)
        except HeadraceError:
            return ()
    if isinstance(noted, list) and all(isinstance(size, int) for size in noted):
        return tuple(noted)
    return ()


def _category(survey: Survey) -> str | None:
    """The codes of the likely label among the categories of obs."""
    codes = [
        item.name
        for item in survey.datasets()
        if item.name.startswith("obs/") and item.leaf == "codes"
    ]
    likely = [name for name in codes if is_label(name.removesuffix("/codes")) or "type" in name]
    return next(iter([*likely, *codes]), None)
