"""The contract of a source, held to HDF5 in all its forms."""

import h5py
import numpy as np
import pytest

from headrace.sources.hdf5 import HDF5Source
from headrace.testing import SourceTests
from tests.sources import zoo_filters as zoo


@pytest.fixture(scope="class", params=zoo.params())
def case(request):
    """One form of storage."""
    return request.param


@pytest.fixture(scope="class")
def file(case, tmp_path_factory):
    """A file in that form."""
    path = tmp_path_factory.mktemp("zoo") / "data.h5"
    with h5py.File(path, "w", **(case.options or {})) as opened:
        case.write(opened)
    return path


class TestHDF5(SourceTests):
    """Every form of storage, by every way of reading."""

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, file):
        return HDF5Source(file, ["data"])

    @pytest.fixture(scope="class")
    @classmethod
    def oracle(cls, file):
        with h5py.File(file, "r") as opened:
            values = opened["data"][()]
        return {"data": np.ascontiguousarray(values.astype(values.dtype.newbyteorder("=")))}

    def test_takes_the_expected_path(self, source, case):
        assert source.read_paths()["data"].path == case.path, source.read_paths()["data"].reason
