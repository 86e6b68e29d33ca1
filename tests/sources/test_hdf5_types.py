"""Types of values: what h5py gives, from every form of storage, or a clear refusal."""

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

from headrace.errors import TypeNotSupportedError
from headrace.sources import value_bytes
from headrace.sources.hdf5 import HDF5Source
from headrace.testing import check_any_order, check_reads
from tests.bad_input.refusal import refused
from tests.files import deflate, nbit, shuffle

ROWS = 60
STORAGE = {
    "contiguous": (None, ()),
    "raw chunks": ((7,), ()),
    "gzip": ((7,), (shuffle, deflate)),
    "h5py": ((7,), (nbit,)),
}
WAYS = {
    "contiguous": "direct rows",
    "raw chunks": "direct rows",
    "gzip": "direct chunks",
    "h5py": "h5py",
}


def integer(size, precision=None, offset=0, order=h5t.ORDER_LE, signed=True):
    """An integer of any size, in which some bits may not count."""
    made = (h5t.STD_I64LE if signed else h5t.STD_U64LE).copy()
    made.set_precision(precision or size * 8)
    made.set_size(size)
    made.set_offset(offset)
    made.set_order(order)
    return made


def floating(size, exponent, mantissa):
    """A float with a sign, so many bits of exponent, and so many of mantissa."""
    made = h5t.IEEE_F64LE.copy()
    if size > 8:
        made.set_precision(size * 8)
    made.set_fields(mantissa + exponent, mantissa, exponent, 0, mantissa)
    made.set_size(size)
    made.set_ebias(2 ** (exponent - 1) - 1)
    return made


def text(size, padding, charset=h5t.CSET_ASCII):
    """A string of fixed size."""
    made = h5t.C_S1.copy()
    made.set_size(size)
    made.set_strpad(padding)
    made.set_cset(charset)
    return made


def enumeration(base, **names):
    """An enumeration."""
    made = h5t.enum_create(base)
    for name, value in names.items():
        made.enum_insert(name.encode(), value)
    return made


def opaque(size, tag):
    """Bytes with a label."""
    made = h5t.create(h5t.OPAQUE, size)
    made.set_tag(tag)
    return made


def predefined(*starts):
    """HDF5's own types whose names start so."""
    return {name: getattr(h5t, name) for name in sorted(dir(h5t)) if name.startswith(starts)}


# Those whose stored bytes are NumPy's, but for their order.
DIRECT = {
    **predefined("STD_I", "STD_U", "IEEE_F16", "IEEE_F32", "IEEE_F64"),
    **{name: h5t.py_create(np.dtype(name)) for name in ("longdouble", "c8", ">c8", "c16", ">c16")},
    "bool": h5t.py_create(np.dtype("?"), logical=True),
    "enum": enumeration(h5t.STD_I16LE, RED=1, GREEN=-7),
    "big-endian enum": enumeration(h5t.STD_I16BE, RED=1, GREEN=-7),
    "enum that is no bool": enumeration(h5t.STD_I8LE, FALSE=1, TRUE=0),
    "opaque": h5t.create(h5t.OPAQUE, 5),
    "bytes padded with zeros": text(6, h5t.STR_NULLPAD),
    "utf-8 padded with zeros": text(6, h5t.STR_NULLPAD, h5t.CSET_UTF8),
    "arrays": h5t.array_create(h5t.STD_I16BE, (2, 3)),
    "arrays of arrays": h5t.array_create(h5t.array_create(h5t.IEEE_F32LE, (2,)), (3,)),
    "arrays of bytes": h5t.array_create(text(4, h5t.STR_NULLPAD), (2,)),
}
# Those that libhdf5 makes numbers of that NumPy has.
CONVERTED = {
    **{name: kind for name, kind in predefined("STD_B").items() if name != "STD_B8BE"},
    **predefined("COMPLEX_IEEE_F32", "COMPLEX_IEEE_F64"),
    "12 bits of 16": integer(2, 12),
    "16 bits in the middle of 32": integer(4, 16, 8),
    "7 unsigned bits of 8": integer(1, 7, signed=False),
    "bfloat16": floating(2, 8, 7),
    "24-bit float": floating(3, 7, 16),
    "8-bit float": floating(1, 4, 3),
    "bytes that end with a zero": text(6, h5t.STR_NULLTERM),
    "bytes padded with spaces": text(6, h5t.STR_SPACEPAD),
    "utf-8 that ends with a zero": text(6, h5t.STR_NULLTERM, h5t.CSET_UTF8),
    "Fortran's characters": h5t.FORTRAN_S1,
    "bool of four bytes": enumeration(h5t.STD_I32LE, FALSE=0, TRUE=1),
    "arrays of bit fields": h5t.array_create(h5t.STD_B16LE, (2,)),
}


def write(path, kind, storage):
    """Random bytes as values of a type; where it is text, text."""
    chunks, filters = STORAGE[storage]
    plist = h5p.create(h5p.DATASET_CREATE)
    if chunks:
        plist.set_chunk(chunks)
    for add in filters:
        add(plist)
    base = kind.get_super() if isinstance(kind, h5t.TypeArrayID) else kind
    raw = np.random.default_rng(2).integers(0, 256, ROWS * kind.get_size(), np.uint8)
    if isinstance(base, h5t.TypeStringID):
        raw = np.resize(np.frombuffer("ab c\0d  x ü yz\0\0\0 q ".encode(), np.uint8), raw.shape)
    elif isinstance(base, h5t.TypeEnumID) or kind.equal(DIRECT["bool"]):
        values = [base.get_member_value(k) for k in range(base.get_nmembers())]
        raw = np.resize(values, ROWS).astype(base.dtype).view(np.uint8)
    with h5py.File(path, "w") as file:
        made = h5d.create(file.id, b"x", kind, h5s.create_simple((ROWS,)), plist)
        made.write(h5s.ALL, h5s.ALL, raw.copy(), mtype=kind)


def check(path, expected_path):
    """Reads in all ways, and compares with h5py, in native order."""
    with h5py.File(path, "r") as file:
        values = file["x"][()]
    oracle = {"x": np.ascontiguousarray(values.astype(values.dtype.newbyteorder("=")))}
    source = HDF5Source(path, ["x"])
    assert source.read_paths()["x"].path == expected_path, source.read_paths()["x"].reason
    assert source.fields[0].dtype == oracle["x"].dtype
    check_reads(source, oracle, np.arange(ROWS))
    check_reads(source, oracle, np.array([0, 3, 4, 9, 33, ROWS - 1]))
    check_any_order(source, oracle)


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("name", DIRECT)
def test_values_that_numpy_has_are_read_as_they_are(tmp_path, name, storage):
    write(tmp_path / "a.h5", DIRECT[name], storage)
    check(tmp_path / "a.h5", WAYS[storage])


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("name", CONVERTED)
def test_other_values_are_what_libhdf5_makes_of_them(tmp_path, name, storage):
    write(tmp_path / "a.h5", CONVERTED[name], storage)
    check(tmp_path / "a.h5", "h5py")


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("name", [*DIRECT, *CONVERTED])
def test_members_of_every_type_are_what_h5py_gives(tmp_path, name, storage):
    """Beside others, behind some bytes that nobody wants."""
    kind = {**DIRECT, **CONVERTED}[name]
    record = h5t.create(h5t.COMPOUND, kind.get_size() + 11)
    record.insert(b"before", 1, h5t.STD_I16BE)
    record.insert(b"x", 5, kind)
    write(tmp_path / "a.h5", record, storage)
    with h5py.File(tmp_path / "a.h5", "r") as file:
        values = file["x"][()]["x"]
    names = ["x['x']", "x['before']"]
    source = HDF5Source(tmp_path / "a.h5", names)
    assert source.read_paths()["x['x']"].path == (WAYS[storage] if name in DIRECT else "h5py")
    out = {f.name: np.zeros((ROWS, *f.shape), f.dtype) for f in source.fields}
    for read in source.reads(np.arange(ROWS), out):
        read()
    native = values.astype(values.dtype.newbyteorder("="))
    assert value_bytes(out["x['x']"]) == value_bytes(np.ascontiguousarray(native))


REFUSED = {
    "24-bit integers": integer(3),
    "big-endian 24-bit integers": integer(3, order=h5t.ORDER_BE, signed=False),
    "40-bit integers": integer(5),
    "128-bit floats": floating(16, 15, 112),
    "times": h5t.UNIX_D32LE,
    "times in eight bytes": h5t.UNIX_D64BE,
    "arrays of 24-bit integers": h5t.array_create(integer(3), (2,)),
    **predefined("COMPLEX_IEEE_F16"),
}


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("name", REFUSED)
def test_values_that_numpy_has_no_type_for_are_refused(tmp_path, name, storage):
    """Never narrowed without a word."""
    write(tmp_path / "a.h5", REFUSED[name], storage)
    with refused(TypeNotSupportedError, "'x'", str(tmp_path / "a.h5"), "no type for", "Convert"):
        HDF5Source(tmp_path / "a.h5", ["x"])


@pytest.mark.parametrize(
    "kind, dtype", [(h5t.STD_B8BE, "uint8"), (opaque(4, b"pixels"), "|V4")], ids=["bits", "label"]
)
def test_values_that_libhdf5_does_not_convert_are_refused(tmp_path, kind, dtype):
    """h5py does not read them either."""
    write(tmp_path / "a.h5", kind, "contiguous")
    with refused(TypeNotSupportedError, "'x'", f"cannot convert to NumPy's {dtype}"):
        HDF5Source(tmp_path / "a.h5", ["x"])


def test_members_beside_what_is_refused_are_read(tmp_path):
    record = h5t.create(h5t.COMPOUND, 16)
    record.insert(b"time", 0, h5t.UNIX_D32LE)
    record.insert(b"count", 8, h5t.STD_I32BE)
    write(tmp_path / "a.h5", record, "gzip")
    with refused(TypeNotSupportedError, "'x'", "no type for", "usable: \"x['count']\"."):
        HDF5Source(tmp_path / "a.h5", ["x"])
    with refused(TypeNotSupportedError, "x['time']", "no type for"):
        HDF5Source(tmp_path / "a.h5", ["x['time']"])
    source = HDF5Source(tmp_path / "a.h5", ["x['count']"])
    assert source.read_paths()["x['count']"].path == "direct chunks"
    out = {"x['count']": np.zeros(ROWS, "i4")}
    for read in source.reads(np.arange(ROWS), out):
        read()
    raw = np.random.default_rng(2).integers(0, 256, ROWS * 16, np.uint8).reshape(ROWS, 16)
    assert (out["x['count']"] == raw[:, 8:12].copy().view(">i4")[:, 0]).all()
