"""Packing in another dtype: values stay what they are, or are named."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import headrace as hr
from headrace.errors import LossError
from tests.bad_input.refusal import refused
from tests.files import images

IMAGES = images(300)
LABELS = np.arange(300)


@pytest.mark.parametrize(
    "values, dtype",
    [
        (np.arange(256), "u1"),
        (np.array([0.5, np.nan, np.inf, -0.0]), "f4"),
        (np.array([1.0, 2.0, -3.0]), "i2"),
        (np.array([2**24, -(2**24)]), "f4"),
        (np.array([0, 1, 1]), "?"),
        (np.array([True, False]), "f8"),
        (np.array([1 + 0j]), "f4"),
        (np.array([b"ab", b"c"]), "S9"),
    ],
)
def test_a_dtype_that_holds_every_value_is_taken(tmp_path, values, dtype):
    """Judged by the values, not by the types."""
    packed = hr.pack(hr.from_arrays(values), tmp_path / "out.h5", dtype=dtype)
    (x,) = packed[:]
    assert x.dtype == np.dtype(dtype)
    assert np.array_equal(x, values, equal_nan=values.dtype.kind == "f")


@pytest.mark.parametrize(
    "value, source, dtype",
    [
        (256, "i8", "u1"),
        (-1, "i8", "u8"),
        (2**63, "u8", "i8"),
        (2**24 + 1, "i4", "f4"),
        (2**63 - 1, "i8", "f8"),
        (2**64 - 1, "u8", "f8"),
        (0.1, "f8", "f4"),
        (1e300, "f8", "f4"),
        (0.5, "f8", "i4"),
        (np.nan, "f8", "i4"),
        (np.inf, "f8", "i8"),
        (2.0**63, "f8", "i8"),
        (-1.0, "f4", "u2"),
        (1j, "c16", "f8"),
        (complex(np.nan, 5), "c16", "f8"),
        (complex(0, np.nan), "c16", "f8"),
        (complex(1e300, np.nan), "c16", "c8"),
        (complex(np.nan, 0.1), "c16", "c8"),
        (2, "i4", "?"),
        (-(2**31), "i4", "f2"),
        (-(2**63), "i8", "f2"),
        (b"abc", "S3", "S2"),
    ],
)
def test_a_value_that_a_dtype_cannot_hold_is_an_error(tmp_path, value, source, dtype):
    """The row and the value are named; nothing is written."""
    values = np.zeros(50_000, source)
    values[43_210] = value
    with refused(LossError, "Row 43210", "'x' holds", "allow_loss=True"):
        hr.pack(hr.from_arrays(values), tmp_path / "out.h5", dtype=dtype)
    assert list(tmp_path.iterdir()) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hr.pack(hr.from_arrays(values), tmp_path / "out.h5", dtype=dtype, allow_loss=True)


@given(st.data())
def test_no_cast_changes_a_value(tmp_path, draws):
    """Either every value comes back, or the first one that would not is named."""
    numbers = st.one_of(hnp.integer_dtypes(endianness="="), hnp.floating_dtypes(endianness="="))
    source, target = draws.draw(numbers), draws.draw(numbers)
    values = draws.draw(hnp.arrays(source, 20))
    data = hr.from_arrays(values)
    kept = [_kept(value, target) for value in values]
    if all(kept):
        packed = hr.pack(data, tmp_path / "a.h5", dtype=target, overwrite=True)
        assert [_exactly(v) for v in packed[:][0]] == [_exactly(v) for v in values]
    else:
        with pytest.raises(LossError) as caught:
            hr.pack(data, tmp_path / "a.h5", dtype=target, overwrite=True)
        assert caught.value.row == kept.index(False)


def _kept(value, target):
    """Whether a dtype holds a number exactly, by Python's arithmetic."""
    exact = _exactly(value)
    if target.kind in "iu":
        info = np.iinfo(target)
        return exact != "nan" and info.min <= exact <= info.max and exact == int(exact)
    with np.errstate(all="ignore"):
        return _exactly(value.astype(target)) == exact


def _exactly(value):
    """A number whose equality is exact, whatever its type; all NaN are one."""
    value = value.item() if hasattr(value, "item") else value
    return "nan" if value != value else value


def test_a_random_order_names_the_row_of_the_data(tmp_path):
    """Not its place in the new order; in one pass and in two."""
    values = np.arange(60_000)
    for memory in ("10MB", "100kB"):
        with refused(LossError, "Row 256: 'x' holds 256"):
            hr.pack(
                hr.from_arrays(np.where(values == 256, 256, 0)),
                tmp_path / "out.h5",
                dtype="u1",
                shuffle=True,
                compression="gzip",
                chunk=1000,
                memory=memory,
                workers=1,
            )


def test_dtypes_can_be_given_field_by_field(tmp_path):
    """Others keep theirs."""
    data = hr.from_arrays(IMAGES, LABELS)
    packed = hr.pack(data, tmp_path / "out.h5", dtype={"y": "i4"})
    assert packed.spec["y"].dtype == "i4"
    assert packed.spec["x"].dtype == "u1"
