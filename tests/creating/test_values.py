"""Values that a field cannot hold are refused; all others are written as they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headrace.creating import values as values_module
from headrace.creating.values import rows_of_batch, values_for
from headrace.errors import DataError, LossError, OptionError, ShapeError
from headrace.spec import Field

NUMBERS = ["bool", "int8", "uint8", "int32", "uint64", "float16", "float32", "float64", "complex64"]


def field(dtype, shape=()):
    return Field("x", shape, np.dtype(dtype))


def joined(values):
    """What is written, put together from its pieces."""
    pieces = [piece for _, piece in values.pieces()]
    assert all(piece.flags.c_contiguous for piece in pieces)
    firsts = [first for first, _ in values.pieces()]
    assert firsts == np.cumsum([0, *map(len, pieces[:-1])]).tolist()
    return np.concatenate(pieces)


@given(st.data(), st.sampled_from(NUMBERS), st.sampled_from(NUMBERS))
def test_a_value_is_written_as_it_is_or_refused(data, source, target):
    """Between any two kinds of numbers."""
    values = data.draw(hnp.arrays(source, 4))
    try:
        written = joined(rows_of_batch(field(target), values))
    except LossError:
        return
    assert written.dtype == target
    # In a type that holds all of both, a Python number.
    for before, after in zip(values.tolist(), written.tolist(), strict=True):
        assert before == after or (before != before and after != after)


@given(hnp.arrays("float64", 3, elements=st.floats(-1e30, 1e30)))
def test_python_numbers_are_rounded_as_numpy_does(values):
    """They have no dtype: 0.1 is as near as the field's can be."""
    written = joined(rows_of_batch(field("float32"), values.tolist()))
    np.testing.assert_array_equal(written, values.astype("float32"))


@pytest.mark.parametrize(
    "dtype, value",
    [
        ("uint8", 300),
        ("uint8", -1),
        ("uint8", 0.5),
        ("int64", 0.1),
        ("bool", 2),
        ("float32", 2**24 + 1),
        ("float32", 1e300),
        ("float16", 70000.0),
        ("float32", 1j),
        ("int8", float("nan")),
        ("float32", np.float64(0.1)),
        ("float32", [np.float64(0.1)]),
        ("S2", b"abc"),
        ("S2", "abc"),
    ],
)
def test_values_that_would_change_are_refused(dtype, value):
    """With the field, the row and the value."""
    rows = [1 if dtype[0] != "S" else "a", *(value if isinstance(value, list) else [value])]
    with pytest.raises(LossError, match=r"Row 1: 'x' holds .*turns into") as caught:
        rows_of_batch(field(dtype), rows)
    assert caught.value.row == 1
    assert "allow_loss" not in str(caught.value)


@pytest.mark.parametrize(
    "dtype, value, expected",
    [
        ("float32", 3.0, 3),
        ("int16", 3.0, 3),
        ("float32", float("inf"), np.inf),
        ("float32", True, 1),
        ("float64", np.float32(0.1), np.float32(0.1)),
        ("complex64", 0.5, 0.5),
        ("S3", "abc", b"abc"),
        ("S5", b"abc", b"abc"),
        ("uint64", 2**63 + 1, 2**63 + 1),
    ],
)
def test_values_that_fit_are_taken(dtype, value, expected):
    """Whatever Python or NumPy calls them."""
    (written,) = joined(values_for(field(dtype), value, 1, single=True))
    assert written == expected


def test_the_first_row_that_would_change_is_named_in_any_piece(monkeypatch):
    """And found before the first piece is handed out."""
    monkeypatch.setattr(values_module, "PIECE_BYTES", 64)
    values = np.zeros(1000)
    values[777] = 0.1
    with pytest.raises(LossError) as caught:
        rows_of_batch(field("float32"), values)
    assert caught.value.row == 777
    assert len(joined(rows_of_batch(field("float32"), np.ones(1000)))) == 1000


def test_a_value_for_many_rows_is_not_multiplied_in_memory():
    """Its pieces are small; so are those of arrays that are cast."""
    one = field("uint8", (1000, 1000))
    for value in (7, np.zeros((1000, 1000))):
        sizes = [piece.nbytes for _, piece in values_for(one, value, 50, single=False).pieces()]
        assert sum(sizes) == 50_000_000
        assert max(sizes) <= values_module.PIECE_BYTES


SHAPES = [(), (1,), (3,), (2, 3), (5, 2, 3), (1, 2, 3), (5, 1, 3), (1, 1, 5, 2, 3), (4, 2, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("index", [slice(0, 5), 0, slice(0, 0)])
def test_values_are_broadcast_as_numpy_does(shape, index):
    """Or refused where it refuses them."""
    value = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    array = np.zeros((5, 2, 3), int)
    single = isinstance(index, int)
    rows = 1 if single else len(array[index])
    try:
        array[index] = value
    except ValueError:
        with pytest.raises(ShapeError, match="cannot take values of shape"):
            values_for(field(int, (2, 3)), value, rows, single=single)
        return
    values = values_for(field(int, (2, 3)), value, rows, single=single)
    if rows:
        np.testing.assert_array_equal(joined(values), array[:rows])


@pytest.mark.parametrize("shape", [(), (5,), (5, 2), (5, 3, 2), (5, 2, 3, 1), (2, 3)])
def test_batches_have_an_axis_of_rows_and_the_shape_of_samples(shape):
    """Nothing is broadcast: a row too few would not be seen."""
    with pytest.raises(ShapeError, match=r"Expected 'x' with shape \(rows, 2, 3\). Received"):
        rows_of_batch(field(int, (2, 3)), np.zeros(shape, int))


def test_values_of_another_kind_are_refused():
    """Each with the way out."""
    table = np.dtype([("a", "i4"), ("b", "f4")])
    with pytest.raises(OptionError, match="holds <U1, which cannot be written as float32"):
        rows_of_batch(field("float32"), ["a"])
    with pytest.raises(OptionError, match="holds object"):
        rows_of_batch(field("float32"), [None])
    with pytest.raises(OptionError, match="expected an array of that dtype"):
        rows_of_batch(field(table), [(1, 2.0)])
    with pytest.raises(OptionError, match=r"not ASCII. Expected bytes: text.encode\(\)"):
        rows_of_batch(field("S9"), ["Größe"])
    with pytest.raises(ShapeError, match="samples of unequal shapes"):
        rows_of_batch(field("float32", (2,)), [[1, 2], [3]])
    with pytest.raises(DataError, match="masked array"):
        rows_of_batch(field("float32"), np.ma.masked_equal([1.0, 2.0], 2))


def test_compound_values_are_taken_as_they_are():
    """Arrays of the same dtype."""
    table = np.dtype([("a", "i4"), ("b", "f4")])
    values = np.array([(1, 2.5), (3, 4.5)], table)
    np.testing.assert_array_equal(joined(rows_of_batch(field(table), values)), values)


def test_no_rows_are_nothing():
    """An empty batch is one."""
    assert list(rows_of_batch(field("uint8", (2,)), np.zeros((0, 2))).pieces()) == []
