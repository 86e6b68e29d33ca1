"""Data that cannot be used: each has its own error, which names file and field and a way out."""

import h5py
import numpy as np
import pytest
from h5py import h5d, h5s, h5t, h5z

import headrace as hr
from headrace.errors import (
    DataError,
    FieldNotFoundError,
    MissingDependencyError,
    OptionError,
    ShapeError,
    TypeNotSupportedError,
)
from tests.bad_input.refusal import IMAGES, refused
from tests.files import create, write

# Names that the file does not have.


@pytest.mark.parametrize(
    "name, near",
    [
        ("imgae", "'image'"),
        ("images", "'image'"),
        ("Label", "'label'"),
        ("LABEL", "'label'"),
        ("age", "'meta/age'"),
        ("meta/ages", "'meta/age'"),
    ],
)
def test_a_missing_field_is_named_with_the_near_ones(cats, name, near):
    all_there = "It holds: image, label, meta/age."
    with refused(FieldNotFoundError, repr(name), str(cats), f"Did you mean {near}", all_there):
        hr.from_hdf5(cats, x="image", y=name)


@pytest.mark.parametrize("name", ["", "zebra", "image/x", "nope/image", "meta/../image"])
def test_a_missing_field_lists_what_is_there(cats, name):
    with refused(FieldNotFoundError, repr(name), "It holds: image, label, meta/age."):
        hr.from_hdf5(cats, x=name)


def test_a_long_list_is_cut(path):
    write(path, **{f"field{n}": [n] for n in range(50)})
    with refused(FieldNotFoundError, "field19", "and 30 more"):
        hr.from_hdf5(path, x="zebra")


def test_an_empty_file_has_no_field(path):
    h5py.File(path, "w").close()
    with refused(FieldNotFoundError, "It holds no datasets."):
        hr.from_hdf5(path, x="image")


@pytest.mark.parametrize("name", ["meta", "meta/", "/meta", "."])
def test_a_group_lists_its_datasets(cats, name):
    with refused(FieldNotFoundError, f"{name!r} in '{cats}' is a group", "age"):
        hr.from_hdf5(cats, x=name)


def test_a_group_of_nothing_says_so(path):
    with h5py.File(path, "w") as file:
        file.create_group("empty")
        file["type"] = np.dtype("f4")
    with refused(FieldNotFoundError, "is a group", "It is empty"):
        hr.from_hdf5(path, x="empty")
    with refused(FieldNotFoundError, "is a named type"):
        hr.from_hdf5(path, x="type")


def test_without_x_the_choice_is_listed(cats):
    with refused(FieldNotFoundError, str(cats), "x=", "image, label, meta/age"):
        hr.from_hdf5(cats)


@pytest.mark.parametrize("x", [[], {}, ()])
def test_an_x_of_no_fields_is_refused(cats, x):
    with refused(OptionError, "x="):
        hr.from_hdf5(cats, x=x)


@pytest.mark.parametrize("x", [5, b"image", ["image", None], {"a": 1.5}, IMAGES])
def test_a_name_that_is_no_text_is_refused(cats, x):
    with refused(OptionError, "Expected x=", "name"):
        hr.from_hdf5(cats, x=x)


def test_links_inside_the_file_are_followed(cats):
    with h5py.File(cats, "a") as file:
        file["soft"] = h5py.SoftLink("/meta/age")
        file["group"] = h5py.SoftLink("meta")
        file["meta/up"] = h5py.SoftLink("age")
        file["hard"] = file["meta/age"]
    for name in ("soft", "group/age", "meta/up", "hard", "/meta/age", "meta//age/"):
        (ages,) = hr.from_hdf5(cats, x=name)[:]
        assert (ages == np.arange(50)).all()


def test_links_to_nothing_and_in_circles_are_named(cats):
    with h5py.File(cats, "a") as file:
        file["dead"] = h5py.SoftLink("/meta/gone")
        file["circle"] = h5py.SoftLink("/circle")
    with refused(DataError, "'dead'", "'/meta/gone', which is not there", "image, label"):
        hr.from_hdf5(cats, x="dead")
    with refused(DataError, "'circle'", "in a circle"):
        hr.from_hdf5(cats, x="circle")


def test_what_is_missing_behind_a_link_is_not_the_link(cats):
    with h5py.File(cats, "a") as file:
        file["group"] = h5py.SoftLink("meta")
        file["chain"] = h5py.SoftLink("/group")
        file["broken"] = h5py.SoftLink("/chain/gone/x")
    with refused(FieldNotFoundError, "'chain/aeg'", "It holds: image, label, meta/age."):
        hr.from_hdf5(cats, x="chain/aeg")
    with refused(DataError, "'broken/age'", "'/chain/gone/x', which is not there"):
        hr.from_hdf5(cats, x="broken/age")


# Data that lie elsewhere.


@pytest.mark.parametrize("name", ["other", "other/image", "soft"])
def test_links_into_other_files_are_refused(cats, tmp_path, name):
    """Also those within the same folder: a link names any file that it likes."""
    write(tmp_path / "dogs.h5", image=IMAGES)
    with h5py.File(cats, "a") as file:
        file["other"] = h5py.ExternalLink("dogs.h5", "/")
        file["soft"] = h5py.SoftLink("/other/image")
    with refused(DataError, repr(name), str(cats), "'dogs.h5'", "Open that file instead"):
        hr.from_hdf5(cats, x=name)


def test_external_storage_is_refused(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=IMAGES, external=[("/etc/passwd", 0, IMAGES.nbytes)])
    with refused(DataError, "'image'", str(path), "external storage", "h5repack"):
        hr.from_hdf5(path, x="image")


def test_missing_virtual_sources_are_an_error(path):
    layout = h5py.VirtualLayout((50,), "u1")
    layout[:] = h5py.VirtualSource("gone.h5", "image", (50,))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("image", layout)
    with refused(DataError, "'image'", str(path), "gone.h5' is missing", "fill values"):
        hr.from_hdf5(path, x="image")


# Types and shapes that a model cannot take.


def test_variable_length_strings_say_what_to_do(path):
    write(path, text=["a", "bcd"])
    with refused(
        TypeNotSupportedError, "'text'", str(path), "variable-length strings", "np.unique"
    ):
        hr.from_hdf5(path, x="text")


def test_variable_length_arrays_say_what_to_do(path):
    write(path, ragged={"shape": (3,), "dtype": h5py.vlen_dtype("f4")})
    with refused(TypeNotSupportedError, "'ragged'", str(path), "variable-length arrays", "Pad"):
        hr.from_hdf5(path, x="ragged")


@pytest.mark.parametrize("kind", [h5py.Reference, h5py.RegionReference])
def test_references_are_refused(path, kind):
    dtype = h5py.ref_dtype if kind is h5py.Reference else h5py.regionref_dtype
    write(path, refs={"shape": (3,), "dtype": dtype})
    with refused(TypeNotSupportedError, "'refs'", str(path), "references", "Leave the field out"):
        hr.from_hdf5(path, x="refs")


def test_compounds_with_strings_in_them_are_refused(path):
    dtype = np.dtype([("id", "i4"), ("name", h5py.string_dtype())])
    write(path, people={"shape": (3,), "dtype": dtype})
    with refused(
        TypeNotSupportedError, "'people'", str(path), "variable length", "a separate dataset"
    ):
        hr.from_hdf5(path, x="people")


def test_types_that_numpy_does_not_know_are_refused(path):
    with h5py.File(path, "w") as file:
        h5d.create(file.id, b"time", h5t.UNIX_D32LE, h5s.create_simple((4,)))
    with refused(TypeNotSupportedError, "'time'", str(path), "NumPy has no type", "Convert"):
        hr.from_hdf5(path, x="time")


def test_a_scalar_is_refused(path):
    write(path, version=3)
    with refused(ShapeError, "'version'", str(path), "scalar", "Leave it out"):
        hr.from_hdf5(path, x="version")


@pytest.mark.parametrize("shape", [(0,), (0, 4), (5, 0), (5, 0, 3)])
def test_empty_data_are_refused(path, shape):
    write(path, image=np.empty(shape))
    with refused(ShapeError, "'image'", str(path), f"empty: its shape is {shape}", "Write"):
        hr.from_hdf5(path, x="image")


def test_a_dataset_without_data_is_refused(path):
    write(path, image=h5py.Empty("f4"))
    with refused(ShapeError, "'image'", str(path), "empty", "Leave it out"):
        hr.from_hdf5(path, x="image")


def test_unequal_lengths_name_each(path):
    write(path, image=IMAGES, label=np.arange(49), weight=np.ones(50))
    lengths = "'image' has 50, 'label' has 49, 'weight' has 50"
    for end in (None, 50):
        with refused(ShapeError, str(path), lengths, "choose other fields", "end=49"):
            hr.from_hdf5(path, x="image", y="label", sample_weight="weight", end=end)


def test_an_unknown_filter_names_its_number_and_a_package(path):
    """A filter for signals of DNA, which no test installs."""
    with h5py.File(path, "w") as file:

        def add(plist):
            plist.set_filter(32020, h5z.FLAG_OPTIONAL, (0, 2, 1, 1))

        made = create(file, "image", IMAGES, chunks=(8, 4, 4, 3), filters=(add,))
        # Where it is optional, libhdf5 goes without it.
        made.id.write_direct_chunk((0, 0, 0, 0), b"filtered", filter_mask=0)
    way_out = ("32020 (VBZ)", "pip install vbz-h5py-plugin", "h5repack")
    with refused(MissingDependencyError, "'image'", str(path), *way_out):
        hr.from_hdf5(path, x="image")
