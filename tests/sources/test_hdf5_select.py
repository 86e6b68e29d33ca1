"""Other fields of the file of a source: as it reads its own, and no others."""

import h5py
import numpy as np
import pytest

from headrace.errors import DataError, FieldNotFoundError, HeadraceError, ShapeError
from headrace.sources import run_reads
from headrace.sources.hdf5 import HDF5Source


@pytest.fixture
def file(tmp_path):
    """A field, a table beside it, and links into another folder."""
    (tmp_path / "apart").mkdir()
    with h5py.File(tmp_path / "apart" / "b.h5", "w") as other:
        other["secret"] = np.arange(20) * 2
    with h5py.File(tmp_path / "a.h5", "w") as opened:
        opened["x"] = np.zeros((20, 3))
        table = np.zeros(20, [("tag", "i4"), ("name", "S3")])
        table["tag"] = np.arange(20)
        opened["group/table"] = table
        opened["short"] = np.arange(19)
        opened["linked"] = h5py.ExternalLink(str(tmp_path / "apart" / "b.h5"), "secret")
    return tmp_path / "a.h5"


def values(source, name):
    (field,) = (f for f in source.fields if f.name == name)
    out = np.empty((source.length, *field.shape), field.dtype)
    run_reads(source.reads(np.arange(source.length), {name: out}))
    return out


def test_another_field_and_a_member_are_read_from_the_file(file):
    """By the names that from_hdf5 takes."""
    selected = HDF5Source(file, ["x"]).select(["group/table['tag']"])
    assert values(selected, "group/table['tag']").tolist() == list(range(20))
    assert [field.name for field in selected.fields] == ["group/table['tag']"]


def test_its_own_fields_are_read_by_the_source_itself(file):
    """Nothing is opened for them."""
    source = HDF5Source(file, ["x"])
    assert source.select(["x"]) is source


def test_data_elsewhere_stay_out_of_reach_unless_they_were_allowed(file):
    """As for the fields of the data set."""
    with pytest.raises(DataError, match="allow_external"):
        HDF5Source(file, ["x"]).select(["linked"])
    selected = HDF5Source(file, ["x"], allow_external=True).select(["linked"])
    assert values(selected, "linked").tolist() == list(range(0, 40, 2))


@pytest.mark.parametrize(
    "name, error, message",
    [
        ("y", FieldNotFoundError, "no field 'y'"),
        ("short", ShapeError, "'short' has 19, those of the data set 20"),
    ],
)
def test_what_does_not_fit_the_rows_is_refused(file, name, error, message):
    """By its name and its length."""
    with pytest.raises(error, match=message):
        HDF5Source(file, ["x"]).select([name])


def test_a_file_that_is_gone_is_named(file):
    """As wherever it is opened."""
    source = HDF5Source(file, ["x"])
    file.unlink()
    with pytest.raises(HeadraceError, match=r"a\.h5"):
        source.select(["short"])
