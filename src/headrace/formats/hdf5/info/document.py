"""The description of an HDF5 file as a JSON document; `headrace info --help` explains the keys."""

import re
from collections.abc import Mapping
from typing import Any

from headrace.formats.description import advice_document, next_steps
from headrace.formats.hdf5.info.conventions import Recognised
from headrace.formats.hdf5.info.fields import READER
from headrace.formats.hdf5.info.similar import first_alike
from headrace.formats.mixing import Setting
from headrace.manifest import ATTRIBUTE, CHECKSUMS
from headrace.resources import format_bytes
from headrace.sources.hdf5.storage import Storage
from headrace.sources.hdf5.survey import Found, Survey

_OF_PROGRAMS = re.compile(
    rf"{ATTRIBUTE}|{CHECKSUMS}"
    "|(model|training)_config|(layer|weight)_names|keras_version"
    "|encoding(-type|-version)|column-order|h5sparse_(format|shape)"
    "|MATLAB_\\w+|EXTDIM|PSEUDOATOM|FIELD_\\d+_\\w+|NROWS|axis\\d_variety"
    "|block\\d+_items_variety|pandas_(type|version)|(data|values)_(columns|cols)|index_cols"
    "|non_index_axes|nan_rep"
)
"""Attributes that programs, Headrace among them, write for their own use; they are not shown."""

_PLACES = {
    "contiguous": "in one piece",
    "compact": "in the file's table of contents",
    "virtual": "in other datasets (virtual)",
}

READ_PATHS = {
    "direct rows": "any row is read by its address, the fastest way",
    "direct chunks": "whole chunks are read, and decoded on all cores",
    "h5py": "the HDF5 library reads, on one core",
}
"""The ways of reading a dataset, explained."""

_CHUNK = "a piece of a dataset that is stored, and compressed, by itself"


def document_of(file: str, found: Survey, known: Recognised, setting: Setting) -> dict[str, Any]:
    """Everything about a file; sizes are in bytes.

    Args:
        file: The file, as it is to be named in commands.
        found: The objects in it.
        known: The recognised conventions, and all advice on the file.
        setting: The memory and batch size that the advice is for.
    """
    everything = found.everything()
    kinds = [item.kind for item in everything]
    alike = {k: v for group in found.groups() for k, v in first_alike(group.children).items()}
    return {
        "format": "HDF5",
        "file": file,
        "bytes": found.size,
        "groups": kinds.count("group"),
        "datasets": kinds.count("dataset"),
        "complete": found.complete,
        "objects": [_object(item, found.path, alike, known) for item in [found.root, *everything]],
        "advice": [advice_document(one) for one in known.advice],
        "setting": setting._asdict(),
        "next": next_steps(READER, file, known.roles),
    }


def _object(
    item: Found, path: str, alike: Mapping[str, str], recognised: Recognised
) -> dict[str, Any]:
    known: dict[str, Any] = {
        "name": item.name,
        "kind": item.kind,
        "note": item.note or None,
        "alike": alike.get(item.name),
        "attributes": {k: v for k, v in item.attributes.items() if not _OF_PROGRAMS.fullmatch(k)},
        "problem": item.problem(path) or None,
        "damaged": item.damaged,
    }
    if item.kind == "group":
        known |= {"objects": item.inside, "listed": len(item.children)}
        known["content"] = recognised.folded.get(item.name)
    if item.kind == "dataset":
        known |= {"field": item.name not in recognised.survey.hidden, **_dataset(item)}
    return known


def _dataset(item: Found) -> dict[str, Any]:
    storage = item.storage
    if storage is None:
        return {}
    path = item.source.read_paths()[item.name] if item.source else None
    return {
        "shape": storage.shape and list(storage.shape),
        "dtype": storage.dtype,
        "members": storage.members,
        "stored": _stored(storage),
        "layout": storage.layout,
        "chunk_shape": storage.chunk_shape and list(storage.chunk_shape),
        "chunk_bytes": storage.chunk_bytes if storage.chunk_shape else None,
        "chunks": storage.chunks if storage.chunk_shape else None,
        "chunks_written": storage.written if storage.chunk_shape else None,
        "filters": list(storage.filters),
        "stored_bytes": storage.stored_bytes,
        "decoded_bytes": storage.decoded_bytes,
        "ratio": storage.ratio,
        "path": path and path.path,
        "reason": path and path.reason,
    }


def _stored(storage: Storage) -> str:
    """How a dataset is stored, for a person."""
    if storage.chunk_shape is None:
        return _PLACES.get(storage.layout, storage.layout)
    number, written = storage.chunks, storage.written
    text = f"{number:,} chunk{'s' * (number != 1)} of {storage.chunk_shape}"
    text += f", {format_bytes(storage.chunk_bytes)}"
    text += " each" * (number != 1)
    if written not in (None, number):
        text += f", {written:,} of them written"
    return f"{text}; {' + '.join(storage.filters) or 'not compressed'}"


def summary_of(document: Mapping[str, Any]) -> str:
    """How many datasets and groups there are."""
    counts = []
    for key in ("datasets", "groups"):
        number = document[key]
        if number or key == "datasets":
            counts.append(f"{number:,} {key[:-1]}{'s' * (number != 1)}")
    return ", ".join(counts)


def legend_of(document: Mapping[str, Any]) -> dict[str, str]:
    """The words that appear in a document, explained."""
    shown = [item for item in document["objects"] if item.get("field")]
    paths = {item["path"] for item in shown if item.get("path")}
    words = {path: text for path, text in READ_PATHS.items() if path in paths}
    if any(item.get("chunk_shape") for item in shown):
        words["chunk"] = _CHUNK
    return words
