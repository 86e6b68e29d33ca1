"""Filters that libhdf5 lacks: read without it, with hdf5plugin, or refused by name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from headrace.errors import DataError, MissingDependencyError
from headrace.sources.hdf5 import HDF5Source
from tests.files import (
    FILTERS,
    create,
    damage,
    deflate,
    dont_filter_partial_chunks,
    encoded,
    fletcher32,
    images,
    libhdf5,
    optional,
    shuffle,
)
from tests.sources.storage import by_h5py, read, store

ROOT = Path(__file__).parents[2]
OWN = ("gzip", "lzf", "szip", "szip without differences", "shuffle", "fletcher32")
PLUGINS = [name for name in FILTERS if name not in OWN]


WITHOUT = """
import json, sys
sys.modules["hdf5plugin"] = None
import numpy as np
from headrace.errors import HeadraceError
from headrace.sources.hdf5 import HDF5Source
from tests.sources.storage import read

found = {}
for name in sys.argv[2:]:
    try:
        source = HDF5Source(sys.argv[1], [name])
        values = read(source)
    except HeadraceError as error:
        found[name] = [type(error).__name__, str(error)]
    else:
        path = source.read_paths()[name]
        found[name] = [path.path, path.reason, values.tobytes().hex()]
print(json.dumps(found))
"""


def without_plugins(path, *names, **environment):
    """What a process without hdf5plugin reads of datasets: path, reason and bytes; or an error."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(path), *names],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def plugged(tmp_path_factory):
    """A file with a dataset for each filter that hdf5plugin brings, alone and with others."""
    path = tmp_path_factory.mktemp("plugins") / "data.h5"
    with h5py.File(path, "w") as file:
        for name in PLUGINS:
            create(file, name, images(dtype="u2"), chunks=(8, 3, 4, 2), filters=[FILTERS[name]])
            stack = [shuffle, FILTERS[name], deflate, fletcher32]
            create(file, f"{name} and more", images(), chunks=(8, 4, 4, 3), filters=stack)
        file.create_dataset(
            "zfp", data=np.ones((20, 8, 8), "f4"), **hdf5plugin.Zfp(reversible=True)
        )
        delta = hdf5plugin.Blosc2(filters=hdf5plugin.Blosc2.DELTA)
        file.create_dataset("delta", data=images(), chunks=(8, 4, 4, 3), **delta)
    return path


def test_filters_that_libhdf5_lacks_are_read_all_the_same(plugged):
    """Nothing checks the first chunk then, and the reason says so."""
    names = [name + more for name in PLUGINS for more in ("", " and more")]
    found = without_plugins(plugged, *names)
    for name in names:
        path, reason, values = found[name]
        assert path == "direct chunks"
        filter_name = name.split(" ")[0]
        assert f"(libhdf5 has no {filter_name} here, so not compared with it)" in reason
        expected = images() if name.endswith("more") else images(dtype="u2")
        assert bytes.fromhex(values) == expected.tobytes()


def test_with_hdf5plugin_they_are_compared(plugged):
    source = HDF5Source(plugged, PLUGINS)
    assert not any("not compared" in path.reason for path in source.read_paths().values())


@pytest.mark.parametrize("name, words", [("zfp", "32013 (zfp)"), ("delta", "32026 (blosc2)")])
def test_what_nobody_can_decode_names_filter_and_package(plugged, name, words):
    error, text = without_plugins(plugged, name)[name]
    assert error == "MissingDependencyError"
    for part in (f"{name!r} in {str(plugged)!r}", words, "pip install hdf5plugin", "h5repack"):
        assert part in text


def test_the_slow_path_needs_the_plugin(plugged):
    error, text = without_plugins(plugged, "zstd", HEADRACE_HDF5="h5py")["zstd"]
    assert error == "MissingDependencyError"
    for part in ("32015 (zstd)", "HEADRACE_HDF5=h5py is set", "pip install hdf5plugin"):
        assert part in text


def test_a_damaged_chunk_says_who_may_know_more(path):
    store(path, images(), [FILTERS["lz4"]], (8, 4, 4, 3))
    damage(path, "x", 3, at=0)
    error, text = without_plugins(path, "x")["x"]
    assert error == "ReadError"
    for part in ("Rows 24 to 31", "chunk at (24, 0, 0, 0) holds", "libhdf5 lacks a filter here"):
        assert part in text
    assert "pip install hdf5plugin" in text


@pytest.mark.skipif(libhdf5() is None, reason="libhdf5 was not found")
@pytest.mark.parametrize("chunks", [(8, 3, 4, 2), (8, 4, 4, 3), (64, 4, 4, 3)])
@pytest.mark.parametrize("names", [("lz4",), ("shuffle", "zstd"), ("blosc2",)])
def test_edge_chunks_that_are_not_filtered_are_read_without_the_filter(path, names, chunks):
    """libhdf5 knows which they are, and can read them."""
    values = images(dtype="u2")
    filters = [FILTERS[name] for name in names]
    unlimited = (None,) * 4
    store(path, values, filters, chunks, maxshape=unlimited, options=dont_filter_partial_chunks)
    found = without_plugins(path, "x")["x"]
    assert found[0] == "direct chunks", found
    assert bytes.fromhex(found[2]) == values.tobytes()


@pytest.mark.parametrize("skipped", [False, True])
def test_edge_chunks_as_long_as_raw_ones_are_not_taken_for_raw(path, skipped):
    """They are filtered, unless libhdf5 can read them without the filter."""
    values = np.random.default_rng(0).integers(0, 256, (12, 64), np.uint16)
    filters = [shuffle, FILTERS["blosc"]]
    store(path, values, filters, (8, 64))
    whole = np.zeros((8, 64), np.uint16)
    whole[:4] = values[8:]
    if skipped:
        raw, mask = encoded(whole, [shuffle])[0], 2
    else:
        raw, mask = encoded(whole, filters)
        raw += bytes(whole.nbytes - len(raw))
    assert len(raw) == whole.nbytes
    with h5py.File(path, "r+") as file:
        file["x"].id.write_direct_chunk((8, 0), raw, mask)
    found = without_plugins(path, "x")["x"]
    assert found[0] == "direct chunks", found
    assert bytes.fromhex(found[2]) == by_h5py(path).tobytes()


IMPORTS = """
import pickle, sys
from headrace.sources.hdf5 import HDF5Source
from tests.sources.storage import read

source = HDF5Source(sys.argv[1], [sys.argv[2]])
print(source.read_paths()[sys.argv[2]].path, "hdf5plugin" in sys.modules, read(source).sum())
if len(sys.argv) > 3:
    with open(sys.argv[3], "wb") as file:
        pickle.dump(source, file)
"""

COPY = """
import pickle, sys
from tests.sources.storage import read

with open(sys.argv[1], "rb") as file:
    source = pickle.load(file)
assert "hdf5plugin" not in sys.modules
print(read(source).sum())
"""


def run(code, *arguments):
    """What a fresh process prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert not done.returncode, done.stderr
    return done.stdout.split()


def test_hdf5plugin_is_imported_when_a_dataset_needs_it(plugged, path):
    """And not before; its user need not know of it."""
    store(path, images(), [deflate], (8, 4, 4, 3))
    assert run(IMPORTS, path, "x") == ["direct", "chunks", "False", str(images().sum())]
    assert run(IMPORTS, plugged, "zstd") == ["direct", "chunks", "True", str(images().sum())]
    assert run(IMPORTS, plugged, "zfp") == ["h5py", "True", "1280.0"]


def test_a_copy_in_another_process_imports_it_as_well(plugged, tmp_path):
    run(IMPORTS, plugged, "zfp", tmp_path / "source")
    assert run(COPY, tmp_path / "source") == ["1280.0"]


def test_a_virtual_dataset_of_such_data_is_read(plugged):
    whole = plugged.parent / "virtual.h5"
    layout = h5py.VirtualLayout((20, 8, 8), "f4")
    layout[:] = h5py.VirtualSource("data.h5", "zfp", (20, 8, 8))
    with h5py.File(whole, "w") as file:
        file.create_virtual_dataset("x", layout)
    assert run(IMPORTS, whole, "x") == ["h5py", "True", "1280.0"]
    error, text = without_plugins(whole, "x")["x"]
    assert error == DataError.__name__
    for part in (
        "'x' in",
        "of its sources cannot be used",
        "32013 (zfp)",
        "pip install hdf5plugin",
    ):
        assert part in text


def test_a_filter_without_a_package_says_what_is_known(path):
    """A number from the range for tests."""
    store(path, images(), [optional(300, 7)], (8, 4, 4, 3))
    with h5py.File(path, "r+") as file:
        file["x"].id.write_direct_chunk((8, 0, 0, 0), b"filtered", filter_mask=0)
    with pytest.raises(
        MissingDependencyError, match=r"300 \(unknown\).*HDF5_PLUGIN_PATH.*h5repack"
    ):
        HDF5Source(path, ["x"])


def test_a_filter_that_every_chunk_skipped_is_not_missed(path):
    """Libhdf5 skips an optional filter that it lacks."""
    store(path, images(), [optional(300, 7)], (8, 4, 4, 3))
    source = HDF5Source(path, ["x"])
    assert source.read_paths()["x"].path == "h5py"
    assert (read(source) == images()).all()
