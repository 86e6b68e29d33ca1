"""What is written is what is read: by h5py, and by Headrace; whatever the order of the writing."""

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace.errors import DataError, FieldNotFoundError, LossError, OptionError, ShapeError
from headrace.writing.hdf5 import ALIGNMENT
from tests.bad_input.refusal import refused
from tests.creating.helpers import FIELDS, check_file, names_in, samples

ROWS = 12
FORMS = {"a/x": ((2, 3), "int16"), "y": "float64"}


def test_batches_follow_each_other(tmp_path):
    """The rows of each are where the writer says."""
    image, label = samples(0, 100)
    with hr.create(tmp_path / "a.h5", FIELDS) as writer:
        assert len(writer) == 0
        assert writer.write({"label": label[:30], "image": image[:30]}) == range(30)
        assert writer.write((image[30:50], label[30:50])) == range(30, 50)
        assert writer.write([image[50:50], label[50:50]]) == range(50, 50)
        assert writer.write_all((image[i : i + 10], label[i : i + 10]) for i in (50, 60, 70)) == 30
        assert writer.write([image[80:].tolist(), label[80:].tolist()]) == range(80, 100)
        assert len(writer) == 100
    check_file(tmp_path / "a.h5", {"image": image, "label": label})


def test_the_first_lines_of_every_tutorial(tmp_path):
    """Slices, single rows, Python numbers, and samples for many rows."""
    image, label = samples(0, 50)
    with hr.create(tmp_path / "a.h5", FIELDS, length=50) as w:
        w["image"][:] = 0
        w["image"][10:20] = image[10:20]
        w["image"][3, ...] = image[3]
        w["label"][...] = label
        w["label"][0] = 3.0
        w["label"][-1] = 0.1
    expected = np.zeros_like(image)
    expected[10:20], expected[3] = image[10:20], image[3]
    label[0], label[-1] = 3, 0.1
    check_file(tmp_path / "a.h5", {"image": expected, "label": label})


def test_a_loader_can_be_written(tmp_path, make_images):
    """Its batches are those that `write` takes."""
    images = make_images(100)
    data = hr.from_hdf5(images.path, "image", "label")
    with hr.create(tmp_path / "a.h5", data.spec) as writer:
        assert writer.write_all(data.batch(32)) == 100
    again = hr.open(tmp_path / "a.h5")
    assert again.spec == data.spec
    for new, old in zip(again[:], data[:], strict=True):
        np.testing.assert_array_equal(new, old)


def test_a_file_knows_its_structure(tmp_path):
    """So that nobody has to name x and y."""
    names = {"a": "uint8", "b": "float32", "c": "int8", "d": "float32"}
    with hr.create(tmp_path / "a.h5", names, x={"in": "a", "too": ["b"]}, y="c") as writer:
        writer.write([[i, i + 1] for i in range(4)])
    data = hr.open(tmp_path / "a.h5")
    assert (data.spec.x, data.spec.y) == ({"in": "a", "too": ("b",)}, "c")
    with hr.create(tmp_path / "b.h5", names, x=..., y="c", sample_weight="d") as writer:
        writer.write([[i, i + 1] for i in range(4)])
    spec = hr.open(tmp_path / "b.h5").spec
    assert (spec.x, spec.y, spec.sample_weight) == (("a", "b"), "c", "d")


INDEX = st.one_of(
    st.integers(-ROWS, ROWS - 1),
    st.builds(slice, *[st.none() | st.integers(-15, 15)] * 2, st.sampled_from([None, 1, 2, -1])),
    st.lists(st.integers(-ROWS, ROWS - 1), max_size=5),
    st.lists(st.booleans(), min_size=ROWS, max_size=ROWS),
)
STEP = st.tuples(st.sampled_from(list(FORMS)), INDEX, st.booleans())


def do(step, number, writer, truth):
    """Assigns the same to a field of a file and to an array."""
    name, index, same = step
    target = truth[name]
    shape = target.shape[1:] if same else target[index].shape
    value = (np.arange(np.prod(shape, dtype=int)) + number * 100).reshape(shape)
    target[index] = value
    writer[name][index] = value.astype(target.dtype)


@settings(max_examples=60)
@given(st.lists(STEP, max_size=6), st.booleans())
def test_a_file_of_fixed_length_is_assigned_to_as_arrays_are(tmp_path_factory, steps, whole_last):
    """Any order, any indices; what was not assigned yet is known."""
    path = tmp_path_factory.mktemp("fixed") / "a.h5"
    truth = {"a/x": np.zeros((ROWS, 2, 3), "int16"), "y": np.zeros(ROWS)}
    written = {name: np.zeros(ROWS, bool) for name in truth}
    with hr.create(path, FORMS, length=ROWS) as writer:
        for number, step in enumerate(steps, 1):
            do(step, number, writer, truth)
            written[step[0]][step[1]] = True
        for name, done in written.items():
            gaps = list(writer[name].missing())
            assert [row for gap in gaps for row in gap] == np.flatnonzero(~done).tolist()
            for gap in gaps if not whole_last else [range(ROWS)]:
                writer[name][gap.start : gap.stop] = truth[name][gap.start : gap.stop]
    check_file(path, truth)


@settings(max_examples=60)
@given(st.data())
def test_a_file_that_grows_holds_what_was_appended_and_assigned(tmp_path_factory, data):
    """Batches at the end, values anywhere, and beyond the end."""
    path = tmp_path_factory.mktemp("growing") / "a.h5"
    truth = {"a/x": np.zeros((0, 2, 3), "int16"), "y": np.zeros(0)}

    def grow(name, length):
        array = truth[name]
        more = np.zeros((max(0, length - len(array)), *array.shape[1:]), array.dtype)
        truth[name] = np.concatenate([array, more])

    with hr.create(path, FORMS) as writer:
        for number in range(data.draw(st.integers(1, 5))):
            end = max(map(len, truth.values()))
            assert len(writer) == end
            for name in truth:
                grow(name, end)
            if data.draw(st.booleans()):
                count = data.draw(st.integers(0, 4))
                batch = {"a/x": np.full((count, 2, 3), number, "int16"), "y": np.full(count, 0.5)}
                assert writer.write(batch) == range(end, end + count)
                truth |= {name: np.concatenate([truth[name], batch[name]]) for name in truth}
            else:
                name = data.draw(st.sampled_from(list(truth)))
                start, count = data.draw(st.integers(0, 15)), data.draw(st.integers(0, 4))
                grow(name, start + count if count else 0)
                truth[name][start : start + count] = number
                writer[name][start : start + count] = number
        end = len(writer)
        for name in truth:
            grow(name, max(end, 1))
            for gap in (range(1),) if not end else list(writer[name].missing()):
                writer[name][gap.start : gap.stop] = 0
    check_file(path, truth)


DTYPES = ["bool", "int8", "uint64", "float16", "float64", "complex64", "complex128", "S5", ">i4"]
DTYPES += [np.dtype([("pt", "f4"), ("tag", "i1", (2,))]), np.dtype((">f4", (2,)))]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("length", [None, 9])
def test_all_dtypes_that_hdf5_keeps(tmp_path, dtype, length):
    """As h5py keeps them."""
    rng = np.random.default_rng(0)
    base, inner = np.dtype(dtype).subdtype or (np.dtype(dtype), ())
    raw = rng.integers(65, 67, (9, 4, *inner, base.itemsize), np.uint8)
    values = (raw % 2 if base.kind == "b" else raw).reshape(9, 4, -1).view(base)
    values = values.reshape(9, 4, *inner)
    with hr.create(tmp_path / "a.h5", {"x": ((4,), dtype)}, length) as writer:
        writer["x"][4:9] = values[4:]
        writer["x"][:4] = values[:4]
    with h5py.File(tmp_path / "a.h5", "r") as file:
        np.testing.assert_array_equal(file["x"][:], values)
        assert file["x"].dtype == base.newbyteorder("=")


def test_one_field_takes_its_array(tmp_path):
    """In a tuple, in a dict, or as it is."""
    values = np.arange(12.0).reshape(6, 2)
    with hr.create(tmp_path / "a.h5", {"x": ((2,), "float64")}) as writer:
        writer.write(values[:1])
        writer.write((values[1:2],))
        writer.write({"x": values[2:4]})
        writer.write(values[4:].tolist())
    check_file(tmp_path / "a.h5", {"x": values})


@pytest.mark.parametrize("length", [None, 3000])
@pytest.mark.parametrize("name", ["image", "a/b/c/image", "i" * 500])
def test_rows_lie_in_one_piece_that_begins_at_a_page(tmp_path, length, name):
    """And the same values make the same file, whenever they are written."""
    image, label = samples(0, 3000)
    for file in ("a.h5", "b.h5"):
        with hr.create(tmp_path / file, {"label": "float32", name: FIELDS["image"]}, length) as w:
            w.write({name: image, "label": label})
    with h5py.File(tmp_path / "a.h5", "r") as file:
        for dataset in (file[name], file["label"]):
            assert dataset.chunks is None
            assert dataset.id.get_offset() % ALIGNMENT == 0
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("names", [["image"], ["a/b/c/image"], ["i" * 500]])
def test_rows_of_the_largest_field_are_never_moved(tmp_path, names):
    """The file in which they were written is the one that is published."""
    image, label = samples(0, 3000)
    (name,) = names
    with hr.create(tmp_path / "a.h5", {"label": "float32", name: FIELDS["image"]}) as writer:
        writer.write({name: image, "label": label})
        raw = (writer._store.staging.folder / "0.raw").stat().st_ino
    assert (tmp_path / "a.h5").stat().st_ino == raw
    check_file(tmp_path / "a.h5", {name: image, "label": label})


def test_a_file_grows_to_the_length_that_it_would_have_had(tmp_path):
    """Both ways give the same file, byte for byte."""
    fields = {"image": FIELDS["image"], "weight": ((4, 4, 3), "float16"), "label": "float32"}
    order = sorted(fields, key=lambda name: name != "weight")
    image, label = samples(0, 2000)
    for name, length in (("grown", None), ("fixed", 2000)):
        with hr.create(tmp_path / name, {n: fields[n] for n in order}, length) as writer:
            writer.write({"image": image, "weight": image.astype("float16"), "label": label})
    assert (tmp_path / "grown").read_bytes() == (tmp_path / "fixed").read_bytes()


@pytest.mark.parametrize("length", [None, 10])
def test_rows_that_are_missing_are_named(tmp_path, length):
    """Nothing is published, and they can still be written."""
    writer = hr.create(tmp_path / "a.h5", FIELDS, length)
    image, label = samples(0, 10)
    writer["image"][:4] = image[:4]
    writer["image"][6:10] = image[6:]
    writer["label"][[0, 9]] = label[[0, 9]]
    with refused(
        DataError, "'image' lacks 2 of 10 rows, from row 4 on", "'label' lacks 8 of 10 rows, from"
    ):
        writer.close()
    assert not (tmp_path / "a.h5").exists()
    assert list(writer["image"].missing()) == [range(4, 6)]
    writer["image"][4:6] = image[4:6]
    writer["label"][1:9] = label[1:9]
    writer.close()
    check_file(tmp_path / "a.h5", {"image": image, "label": label})


@pytest.mark.parametrize("length", [None, 3])
def test_a_file_without_rows_is_not_made(tmp_path, length):
    """Nobody could read it."""
    kind = ShapeError if length is None else DataError
    writer = hr.create(tmp_path / "a.h5", FIELDS, length)
    with pytest.raises(kind, match=r"cannot be made without rows|lacks 3 of 3 rows"):
        writer.__exit__(None, None, None)
    assert names_in(tmp_path) == []


def test_a_fixed_length_has_an_end(tmp_path):
    """A batch beyond it is refused as a whole, and says how much is left."""
    image, label = samples(0, 10)
    with hr.create(tmp_path / "a.h5", FIELDS, length=10) as writer:
        writer.write((image[:7], label[:7]))
        with refused(ShapeError, "The batch has 4 rows", "has 3 of its 10 left"):
            writer.write((image[:4], label[:4]))
        with pytest.raises(IndexError, match="row 10 is out of range for 10 rows"):
            writer["label"][10] = 1
        assert writer["image"].shape == (10, 4, 4, 3)
        assert (len(writer), len(writer["label"])) == (7, 10)
        writer.write((image[7:], label[7:]))


def test_batches_that_do_not_fit_are_refused_as_a_whole(tmp_path):
    """And what came before and comes after is written."""
    image, label = samples(0, 10)
    with hr.create(tmp_path / "a.h5", FIELDS) as writer:
        writer.write((image[:5], label[:5]))
        with refused(ShapeError, "image has 3", "label has 2"):
            writer.write((image[:3], label[:2]))
        with refused(ShapeError, "Expected 'image' with shape (rows, 4, 4, 3)", "(4, 4, 3)"):
            writer.write((image[0], label[:1]))
        with refused(LossError, "Row 1: 'image' holds -1.0, which uint8 turns into"):
            writer.write((np.array([image[0], image[1] * 0 - 1.0]), label[:2]))
        with refused(OptionError, "lacks label"):
            writer.write({"image": image})
        with refused(FieldNotFoundError, "no field 'labels'", "Did you mean 'label'?"):
            writer.write({"image": image, "labels": label})
        with refused(OptionError, "Expected a batch of 2 arrays", "Received: 1"):
            writer.write(image)
        with refused(OptionError, "Expected a batch of 2 arrays", "Received: 3"):
            writer.write((image, label, label))
        with refused(FieldNotFoundError, "no field 'imag'", "Did you mean 'image'?"):
            writer["imag"][0] = image[0]
        with refused(FieldNotFoundError, "no field 'slice(0, 3, None)'"):
            writer[0:3]
        with refused(ShapeError, "'label' cannot take values of shape (3,)", "shape (2,)"):
            writer["label"][0:2] = label[:3]
        with refused(LossError, "'label' holds 1e+300, which float32 turns into inf"):
            writer["label"][0] = 1e300
        assert len(writer) == 5
        writer.write((image[5:], label[5:]))
    check_file(tmp_path / "a.h5", {"image": image, "label": label})


def test_a_writer_says_what_it_is(tmp_path):
    """To a person at a prompt."""
    with hr.create(tmp_path / "a.h5", FIELDS) as writer:
        writer.write(samples(0, 3))
        assert "3 rows so far: image (4, 4, 3) uint8, label () float32" in repr(writer)
        assert "'label'" in repr(writer["label"])
        assert writer["label"].dtype == "float32"
        assert [field.name for field in writer.fields] == ["image", "label"]
        assert writer.path == str(tmp_path / "a.h5")


def test_scattered_rows_of_a_large_file(tmp_path):
    """In blocks: a permutation of more rows than are looked at together."""
    n = 150_000
    values = np.random.default_rng(0).permutation(n)
    with hr.create(tmp_path / "a.h5", {"x": "int64"}, length=n) as writer:
        writer["x"][::2] = values[::2]
        writer["x"][np.arange(n - 1, 0, -2)] = values[::-1][::2]
    check_file(tmp_path / "a.h5", {"x": values})
