"""Writing holds no rows."""

import tracemalloc

import numpy as np
import pytest

import headrace as hr

ROW = (1000, 250)
MOST = 24 << 20


@pytest.mark.parametrize("length", [None, 400])
def test_writing_takes_no_memory_for_rows(tmp_path, length):
    """100 MB, cast from eight times as many bytes in a file, in pieces of 4 MiB."""
    source = np.memmap(tmp_path / "source", "float64", "w+", shape=(40, *ROW))
    source[:] = 7
    tracemalloc.start()
    with hr.create(tmp_path / "a.h5", {"x": (ROW, "uint8"), "y": "int8"}, length) as writer:
        for start in range(0, 400, 40):
            writer["x"][start : start + 40] = source
        writer["x"][:] = np.uint8(7)
        writer["x"][::-3] = 7.0
        writer["y"][0:400] = 1
        writer.flush()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST
    assert (hr.from_hdf5(tmp_path / "a.h5", "x")[[0, 399]][0] == 7).all()
