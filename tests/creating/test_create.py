"""What `create` is asked for, and what it refuses before any work is done."""

from contextlib import suppress

import ml_dtypes
import numpy as np
import pytest

import headrace as hr
from headrace.errors import (
    DiskFullError,
    FieldNotFoundError,
    MissingFileError,
    NoPermissionError,
    OptionError,
    ShapeError,
    StateError,
    TypeNotSupportedError,
    WriteError,
)
from headrace.spec import Field
from tests.bad_input.refusal import refused
from tests.creating.helpers import FIELDS, check_file, names_in, samples
from tests.files import as_nobody


@pytest.mark.parametrize(
    "fields",
    [
        {"x": "float32"},
        {"x": ((), "float32")},
        {"x": np.float32},
        Field("x", (), np.dtype("float32")),
        [Field("x", (), np.dtype("float32"))],
        hr.Spec((Field("x", (), np.dtype("float32")),), "x"),
    ],
    ids=["dtype", "tuple", "type", "field", "fields", "spec"],
)
def test_fields_can_be_said_in_many_ways(tmp_path, fields):
    """All mean the same."""
    with hr.create(tmp_path / "a.h5", fields) as writer:
        writer.write([1, 2])
    check_file(tmp_path / "a.h5", {"x": np.array([1, 2], "float32")})


def test_shapes_can_be_said_in_many_ways(tmp_path):
    """A number, a tuple, a list; and as a part of the dtype."""
    forms = {"a": (3, "int8"), "b": ((3,), "int8"), "c": ([3], "int8"), "d": np.dtype("(3,)i1")}
    with hr.create(tmp_path / "a.h5", forms) as writer:
        assert {field.shape for field in writer.fields} == {(3,)}
        writer.write([np.zeros((1, 3), "int8")] * 4)


@pytest.mark.parametrize(
    "fields", [None, {}, [], "x", 3, {"x": "no dtype"}, {"x": ("a", "f4")}, ["x"]]
)
def test_other_fields_are_refused(tmp_path, fields):
    """With an example."""
    with refused(OptionError, "Expected", "'uint8'"):
        hr.create(tmp_path / "a.h5", fields)


NAMES = ["", "/", "/x", "x/", "a//b", "a/./b", ".", "a\0b", "\ud800", 3, None]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_that_hdf5_cannot_keep_are_refused(tmp_path, name):
    """Before a file is made."""
    with refused(OptionError, "cannot be the name of a field"):
        hr.create(tmp_path / "a.h5", {name: "float32"})


def test_a_name_is_no_group_of_others(tmp_path):
    """And none is there twice."""
    x = Field("x", (), np.dtype("float32"))
    for fields in ({"a": "f4", "a/b": "f4"}, {"a/b/c": "f4", "a/b": "f4"}, [x, x]):
        with refused(OptionError, "cannot be the name of a field"):
            hr.create(tmp_path / "a.h5", fields)


@pytest.mark.parametrize(
    "dtype", ["U5", "O", "M8[s]", "m8[s]", np.dtype([("a", "O")]), np.dtypes.StringDType()], ids=str
)
def test_types_without_a_fixed_size_are_refused(tmp_path, dtype):
    """With what to use instead."""
    with refused(TypeNotSupportedError, "'x' cannot hold", "'int64' for times"):
        hr.create(tmp_path / "a.h5", {"x": dtype})


def test_types_that_hdf5_lacks_are_refused_at_once(tmp_path):
    """Also in a file that grows, which is laid out only at its end."""
    for length in (None, 10):
        with refused(TypeNotSupportedError, "HDF5 has no type for 'x'"):
            hr.create(tmp_path / "a.h5", {"x": np.dtype([("a", "U3")])}, length)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("length", [None, 10])
@pytest.mark.parametrize(
    "form", [((1,) * 40, "u1"), np.dtype([(f"m{i}", "f4") for i in range(3000)])], ids=["axes", "m"]
)
def test_what_is_too_much_for_hdf5_is_refused_at_once(tmp_path, form, length):
    """With what it says."""
    with refused(TypeNotSupportedError, "HDF5 cannot keep 'x'", "too large"):
        hr.create(tmp_path / "a.h5", {"x": form}, length)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("form", [((0,), "u1"), ((3, 0), "u1"), "S", "V", ((-1,), "u1")])
def test_samples_have_bytes(tmp_path, form):
    """At least one."""
    with refused(ShapeError, "Expected samples of at least one byte"):
        hr.create(tmp_path / "a.h5", {"x": form})


@pytest.mark.parametrize("length", [0, -1, 1.5, "3", True])
def test_lengths_are_positive_integers(tmp_path, length):
    """Or None."""
    with refused(OptionError, "Expected length to be an integer >= 1 or None"):
        hr.create(tmp_path / "a.h5", FIELDS, length)


def test_lengths_are_lengths_that_can_be_read(tmp_path):
    """And that there is room for."""
    with refused(OptionError, "Expected length to be at most"):
        hr.create(tmp_path / "a.h5", FIELDS, 10**15)
    with refused(DiskFullError, "TB", "left"):
        hr.create(tmp_path / "a.h5", FIELDS, 10**12)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    "parts, kind, words",
    [
        ({"x": "nope"}, FieldNotFoundError, "no field 'nope' in x= of the new file"),
        ({"x": "image", "y": "labels"}, FieldNotFoundError, "Did you mean 'label'?"),
        ({"x": "image", "sample_weight": "label"}, OptionError, "sample_weight= needs y="),
        ({"x": []}, OptionError, "Expected x= to be the name of a field"),
        ({"x": ["image", None]}, OptionError, "Received: None"),
        ({"x": {1: "image"}}, OptionError, "keys are strings"),
        ({"x": "image", "y": ...}, OptionError, "Expected y= to be the name of a field"),
    ],
)
def test_structures_are_made_of_fields(tmp_path, parts, kind, words):
    """In a form that a file can note."""
    with refused(kind, words):
        hr.create(tmp_path / "a.h5", FIELDS, **parts)
    assert names_in(tmp_path) == []


def test_what_is_there_stays(tmp_path):
    """Unless it is to be overwritten; then until the new file is whole."""
    target = tmp_path / "a.h5"
    target.write_text("old")
    with refused(OptionError, "is there already", "overwrite=True"):
        hr.create(target, FIELDS)
    image, label = samples(0, 10)
    with hr.create(target, FIELDS, overwrite=True) as writer:
        writer.write((image, label))
        writer.flush()
        assert target.read_text() == "old"
    check_file(target, {"image": image, "label": label})
    assert names_in(tmp_path) == ["a.h5"]


def test_paths_that_cannot_be_written_to_are_refused(tmp_path, open_folder):
    """Each with its reason."""
    with refused(MissingFileError, "no folder"):
        hr.create(tmp_path / "missing" / "a.h5", FIELDS)
    with refused(OptionError, "is a folder. Name a file"):
        hr.create(tmp_path, FIELDS, overwrite=True)
    with refused(OptionError, "Expected the path of a file"):
        hr.create(3, FIELDS)
    # The one where the real user may not, the other where only the effective one may not.
    kinds = (NoPermissionError, WriteError)
    with as_nobody(), pytest.raises(kinds, match=r"cannot be written to|Permission denied"):
        hr.create(open_folder / "a.h5", FIELDS)


@pytest.mark.parametrize("name", ["lock", "new", "written.json", "0.raw", "empty.h5", "ä b"])
def test_a_file_may_have_any_name(tmp_path, name):
    """Those of files that `create` keeps for itself among them."""
    values = np.arange(5)
    for options in ({}, {"overwrite": True, "length": 5}):
        with hr.create(tmp_path / name, {"x": "int64"}, **options) as writer:
            writer.write(values)
            writer.flush()
        check_file(tmp_path / name, {"x": values})
    assert names_in(tmp_path) == [name]


def test_new_files_have_the_mode_of_others(tmp_path):
    """Whichever file became them."""
    (tmp_path / "other").touch()
    for length in (None, 5000):
        with hr.create(tmp_path / "a.h5", {"x": "int64"}, length, overwrite=True) as writer:
            writer.write(np.arange(5000))
        assert (tmp_path / "a.h5").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("form", [((2.5,), "i8"), ("32", "i8"), (3.0, "i8")])
def test_a_shape_is_made_of_whole_numbers(tmp_path, form):
    with pytest.raises(OptionError, match="shape of a sample"):
        hr.create(tmp_path / "a.h5", {"a": form})


def test_types_of_other_libraries_are_refused(tmp_path):
    """HDF5 would keep mere bytes."""
    with pytest.raises(TypeNotSupportedError, match="bfloat16"):
        hr.create(tmp_path / "a.h5", {"a": ml_dtypes.bfloat16})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"version": 1, "plan": {}}'])
def test_a_damaged_note_is_named(tmp_path, note):
    with suppress(RuntimeError), hr.create(tmp_path / "a.h5", {"a": "i4"}) as w:
        w.write([1, 2])
        raise RuntimeError
    (tmp_path / ".a.h5.headrace" / "written.json").write_text(note)
    with pytest.raises(StateError, match=r"written\.json is damaged"):
        hr.create(tmp_path / "a.h5", {"a": "i4"}, resume=True)
