"""What `headrace info` knows about a file, as what JSON can hold; `--help` names the keys."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from headrace.formats.advice import Advice
from headrace.formats.hdf5.info.alike import first_alike
from headrace.formats.hdf5.info.conventions import Recognised
from headrace.formats.hdf5.info.roles import Roles
from headrace.formats.mixing import Setting
from headrace.manifest import ATTRIBUTE, CHECKSUMS
from headrace.sources.hdf5.survey import Found, Survey

_OF_PROGRAMS = re.compile(
    rf"{ATTRIBUTE}|{CHECKSUMS}"
    "|(model|training)_config|(layer|weight)_names|keras_version"
    "|encoding(-type|-version)|column-order|h5sparse_(format|shape)"
    "|MATLAB_\\w+|EXTDIM|PSEUDOATOM|FIELD_\\d+_\\w+|NROWS|axis\\d_variety"
    "|block\\d+_items_variety|pandas_(type|version)|(data|values)_(columns|cols)|index_cols"
    "|non_index_axes|nan_rep"
)
"""Attributes that Headrace and other programs note for themselves."""

_WORD = re.compile(r"[\w./][\w./ -]*", re.ASCII)
"""Names that `headrace fit` takes as they are."""


def describe(file: str, found: Survey, known: Recognised, setting: Setting) -> dict[str, Any]:
    """Everything about a file; sizes are in bytes.

    Args:
        file: The file, as it is to be named in commands.
        found: What is in it.
        known: What of that follows conventions, and all advice on the file.
        setting: What the advice is for.
    """
    everything = found.everything()
    kinds = [item.kind for item in everything]
    alike = {k: v for group in found.groups() for k, v in first_alike(group.children).items()}
    return {
        "file": file,
        "bytes": found.size,
        "groups": kinds.count("group"),
        "datasets": kinds.count("dataset"),
        "complete": found.complete,
        "objects": [_object(item, found.path, alike, known) for item in [found.root, *everything]],
        "advice": [_advice(one) for one in known.advice],
        "setting": setting._asdict(),
        "next": known.roles and _next(file, known.roles),
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


def _advice(one: Advice) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "datasets": list(one.datasets),
        "text": one.text,
        "language": one.language or None,
        "command": one.command or None,
    }


def _next(file: str, roles: Roles) -> dict[str, Any]:
    """How to go on."""
    shell = None
    if roles.y and all(_WORD.fullmatch(name) for name in roles.names):
        words = ["headrace", "fit", file, "--x", roles.x, "--y", roles.y]
        if roles.sample_weight:
            words += ["--sample-weight", roles.sample_weight]
        shell = shlex.join(words)
    return {**roles._asdict(), "python": roles.call(file), "shell": shell}
