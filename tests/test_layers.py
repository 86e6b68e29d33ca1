"""The structure that ARCHITECTURE.md describes is the structure of the code."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import headrace

PACKAGE = Path(headrace.__file__).parent

# From the ground up; a layer imports from those below it, and boxes of one layer not each other.
LAYERS = [
    {"errors", "forks"},
    {"html"},
    {"spec", "lists", "resources", "progress", "locks", "function_digest"},
    {"staging", "manifest"},
    {"sources", "order", "transform"},
    {"loading", "writing"},
    {"splits", "pipeline"},
    {"dataset"},
    {"formats", "joining", "sequence"},
    {"legacy", "matrix"},
    {"keras", "testing"},
    {"creating", "packing", "statistics"},
    {"baseline"},
    {"cli"},
]
THREADS = [
    "legacy.py",
    "loading/items/supervisor.py",
    "loading/items/threads.py",
    "loading/items/worker.py",
    "loading/prefetch/threads.py",
    "packing/targets.py",
    "packing/verify.py",
    "sources/csv/table.py",
    "sources/tables/source.py",
    "writing/direct.py",
    "writing/flushing.py",
]

LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules():
    """Every file of the package with the box that it belongs to."""
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        box = inside.parts[0].removesuffix(".py")
        if box not in ("__init__", "__main__"):
            yield pytest.param(path, box, id=str(inside))


def boxes_imported(path):
    """The boxes of headrace that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "headrace":
                names = [f"headrace.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "headrace" and len(parts) > 1:
                yield parts[1]


@pytest.mark.parametrize("path, box", list(modules()))
def test_imports_go_down_only(path, box):
    """Each file imports its own box and boxes of lower layers."""
    for other in boxes_imported(path):
        if other in LEVEL and other != box:
            assert LEVEL[other] < LEVEL[box], f"{box} imports {other}"


def test_every_box_has_a_layer():
    """A new folder or file at the top says where it stands."""
    assert {box for _, box in (param.values for param in modules())} == set(LEVEL)


LIBRARIES = {
    "h5py": {"sources", "writing"},
    "imagecodecs": {"sources", "writing"},
    "keras": {"keras", "baseline", "cli"},
}


@pytest.mark.parametrize("path, box", list(modules()))
def test_libraries_are_imported_where_they_belong(path, box):
    """HDF5 is read in sources, Keras is spoken to in keras; threads live in one file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            for library in (str(name).split(".")[0] for name in names):
                assert box in LIBRARIES.get(library, {box})


ABOUT_HDF5 = {"sources", "formats", "matrix", "writing", "creating"}


@pytest.mark.parametrize("path, box", list(modules()))
def test_only_formats_and_writers_know_a_format_by_name(path, box):
    """All others ask the table of formats: a new format changes none of them."""
    if box not in ABOUT_HDF5:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                inside = node.module.startswith(("headrace.sources.", "headrace.formats."))
                assert not (inside and "hdf5" in node.module), node.module


def test_threads_are_started_in_few_files():
    """`threading.Thread` and executors: for reading, and for what calls objects of the user's."""
    starting = re.compile(r"\bThread\(|ThreadPool|ProcessPool")
    found = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if starting.search(path.read_text()) and path.name != "testing.py"
    ]
    assert sorted(found) == THREADS


def test_public_names_are_those_that_can_be_imported():
    """`__all__` is what the package offers."""
    offered = {name for name in vars(headrace) if not name.startswith("_")}
    modules_inside = {path.stem for path in PACKAGE.iterdir()} - {"errors"}
    assert set(headrace.__all__) == offered - modules_inside | {"open"}
    for name in headrace.__all__:
        assert getattr(headrace, name).__doc__


def test_importing_headrace_is_light():
    """No Keras, no backend, no HDF5 until they are needed."""
    code = "import sys, headrace; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    heavy = {
        "keras",
        "jax",
        "torch",
        "tensorflow",
        "h5py",
        "imagecodecs",
        "rich",
        "scipy",
        "matplotlib",
    }
    assert not loaded & heavy
