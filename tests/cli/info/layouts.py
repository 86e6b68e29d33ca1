"""Files as other programs lay them out, made with h5py alone, and the samples that are in them.

Each function writes a file and returns the kind of advice that it gets, x of all samples, and y
of all samples (None where there is none).
"""

import io

import h5py
import numpy as np
from PIL import Image

from tests.files import images


def numbers(*shape):
    return np.random.default_rng(0).random(shape, dtype="f4")


def marked(item, **marks):
    """Notes attributes beside an object; texts as the C libraries do."""
    for name, value in marks.items():
        item.attrs[name] = np.bytes_(value) if isinstance(value, str) else value
    return item


# Samples that are groups or datasets of their own.


def a_group_each(path):
    x, y = images(60), np.arange(60) % 5
    with h5py.File(path, "w") as file:
        for i in range(60):
            file[f"sample_{i:04d}/image"] = x[i]
            file[f"sample_{i:04d}/label"] = y[i]
    return "samples-in-groups", x, y


def a_group_each_beside_others(path):
    """With text as labels, a field that some lack, and something about the whole beside them."""
    x, y = images(20), np.arange(20) % 3
    with h5py.File(path, "w") as file:
        file["about/version"] = np.arange(3)
        file["readme"] = np.arange(5)
        for i in range(20):
            file[f"s{i}/image"] = x[i]
            file[f"s{i}/label"] = ["cat", "dog", "eel"][y[i]]
            if i % 2:
                file[f"s{i}/thumbnail"] = x[i, :2, :2]
    return "samples-in-groups", x, y


def groups_under_numbers_beside_others(path):
    x, y = images(20), np.arange(20) % 3
    with h5py.File(path, "w") as file:
        file["labels"] = np.arange(3)
        for i in range(20):
            file[f"{i}/data"] = x[i]
            file[str(i)].attrs["label"] = y[i]
    return "samples-in-groups", x, y


def labels_beside_images_in_groups(path):
    """As attributes of the images."""
    x, y = images(20), np.arange(20) % 3
    with h5py.File(path, "w") as file:
        for i in range(20):
            file[f"s{i}/image"] = x[i]
            file[f"s{i}/mask"] = x[i, ..., 0]
            file[f"s{i}/image"].attrs["class_id"] = y[i]
    return "samples-in-groups", x, y


def a_group_each_in_groups(path):
    """As scans of patients."""
    x, y = images(24), np.arange(24) % 2
    with h5py.File(path, "w") as file:
        for i in range(24):
            file[f"patient_{i // 4}/scan_{i % 4}/image"] = x[i]
            file[f"patient_{i // 4}/scan_{i % 4}/label"] = y[i]
            file[f"patient_{i // 4}/scan_{i % 4}/mask"] = x[i, ..., 0]
    return "samples-in-groups", x, y


def groups_of_one_dataset(path):
    x = images(30)
    with h5py.File(path, "w") as file:
        for i in range(30):
            file[f"{i}/image"] = x[i]
    return "samples-in-datasets", x, None


def labels_in_attributes(path):
    x, y = images(120), np.arange(120) % 5
    with h5py.File(path, "w") as file:
        for i in range(120):
            file[f"img/{i:05d}"] = x[i]
            file[f"img/{i:05d}"].attrs["label"] = y[i]
    return "samples-in-datasets", x, y


def texts_in_attributes(path):
    x, y = images(120), np.arange(120) % 3
    with h5py.File(path, "w") as file:
        for i in range(120):
            file[f"trace.{i}.A"] = x[i]
            file[f"trace.{i}.A"].attrs["category"] = ["cat", "dog", "eel"][y[i]]
    return "samples-in-datasets", x, y


def a_folder_each_class(path):
    x, y = images(60), np.arange(60) // 20
    with h5py.File(path, "w") as file:
        for i in range(60):
            file[f"{['cat', 'dog', 'eel'][y[i]]}/{i % 20:04d}"] = x[i]
    return "samples-in-datasets", x, y


def image_files_each(path):
    """A dataset for the bytes of each file."""
    x, files = squares(120)
    y = np.arange(120) % 4
    with h5py.File(path, "w") as file:
        for i in range(120):
            file[f"{i:03d}"] = files[i]
            file[f"{i:03d}"].attrs["label"] = y[i]
    return "samples-in-datasets", x, y


def squares(n):
    """Squares of one colour as `decode` gives them, and the files that they come from."""
    x = np.zeros((n, 224, 224, 3), "u1")
    files = []
    for i in range(n):
        x[i] = i
        raw = io.BytesIO()
        Image.fromarray(x[i, : 4 + i % 3, :5]).save(raw, "png")
        files.append(np.frombuffer(raw.getvalue(), "u1"))
    return x, files


# Sparse matrices.


def matrix(rows=90, columns=12):
    """A matrix, and the three arrays of it by its rows."""
    x = numbers(rows, columns) * (np.random.default_rng(1).random((rows, columns)) < 0.2)
    row, column = np.nonzero(x)
    ends = np.searchsorted(row, np.arange(rows + 1))
    return x, {"data": x[row, column], "indices": column.astype("i4"), "indptr": ends.astype("i4")}


def put(group, parts):
    for name, values in parts.items():
        group[name] = values
    return group


def anndata(path, x="csr"):
    values, parts = matrix()
    y = (np.arange(90) % 3).astype("i1")
    with h5py.File(path, "w") as file:
        marked(file, **{"encoding-type": "anndata"})
        if x == "dense":
            file["X"] = values
        else:
            parts = parts if x == "csr" else matrix_of(values.T)
            group = put(file.create_group("X"), parts)
            marked(group, **{"encoding-type": f"{x}_matrix", "shape": np.array(values.shape)})
        file["obs/_index"] = [f"cell {i}" for i in range(90)]
        file["obs/depth"] = numbers(90)
        file["obs/cell_type/codes"] = y
        file["obs/cell_type/categories"] = ["T", "B", "NK"]
        file["obs/batch/codes"] = np.zeros(90, "i1")
        file["obs/batch/categories"] = ["one"]
        file["obsm/X_pca"] = numbers(90, 5)
        file["var/_index"] = [f"gene {i}" for i in range(12)]
        put(file.create_group("layers/counts"), matrix()[1])
    return "anndata", values, y


def matrix_of(values):
    row, column = np.nonzero(values)
    ends = np.searchsorted(row, np.arange(len(values) + 1))
    return {"data": values[row, column], "indices": column, "indptr": ends}


def anndata_by_column(path):
    return anndata(path, "csc")


def anndata_dense(path):
    return anndata(path, "dense")


def anndata_of_old(path):
    """Before version 0.7, with other marks, and obs a table."""
    x, parts = matrix()
    with h5py.File(path, "w") as file:
        marked(put(file.create_group("X"), parts), h5sparse_format="csr")
        file["X"].attrs["h5sparse_shape"] = x.shape
        file["obs"] = np.zeros(90, [("index", "S4"), ("n", "i4")])
    return "sparse-matrix", x, None


def tenx(path):
    """10x Genomics: a column for each cell."""
    x, parts = matrix()
    with h5py.File(path, "w") as file:
        group = put(file.create_group("matrix"), parts)
        group["shape"] = np.array(x.shape[::-1], "i4")
        group["barcodes"] = np.array([f"cell {i}" for i in range(90)], "S")
        group["features/name"] = np.array([f"gene {i}" for i in range(12)], "S")
    return "sparse-matrix", x, None


def scipy(path):
    """As `scipy.sparse.save_npz` names the parts."""
    x, parts = matrix()
    y = np.arange(90) % 4
    with h5py.File(path, "w") as file:
        put(file.create_group("train"), parts | {"shape": np.array(x.shape)})
        file["label"] = y
    return "sparse-matrix", x, y


def scipy_without_shape(path):
    x, parts = matrix()
    with h5py.File(path, "w") as file:
        put(file, parts)
    return "sparse-matrix", x, None


def matlab_sparse(path):
    x, _ = matrix()
    parts = matrix_of(x.T)
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        put(group, {"data": parts["data"], "ir": parts["indices"], "jc": parts["indptr"]})
        marked(group, MATLAB_class="double", MATLAB_sparse=np.uint64(90))
    return "sparse-matrix", x, None


# MATLAB.


def matlab(path, x, y=None, **storage):
    """A file of arrays as MATLAB has them: stored the other way round."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in (("X", x), ("Y", y)):
            if values is not None:
                made = file.create_dataset(name, data=values.T, **storage)
                marked(made, MATLAB_class="double")
        file["#refs#/a"] = numbers(700, 40)
        marked(file["#refs#/a"], MATLAB_class="double")


def matlab_rows(path):
    x, y = numbers(200, 28, 14), np.arange(200.0) % 10
    matlab(path, x, y[:, None], chunks=True, compression="gzip")
    return "matlab-axes", x, y


def matlab_stacked(path):
    """Samples are the last axis in MATLAB, so that they are the first one here."""
    x, y = numbers(28, 14, 200), np.arange(200.0) % 10
    matlab(path, x, y[None])
    return "matlab-axes", x.T, y


def matlab_without_target(path):
    x = numbers(200, 4, 60)
    matlab(path, x)
    return "matlab-axes", x, None


def matlab_targets(path):
    """Several for each sample."""
    x, y = numbers(200, 4, 60), numbers(200, 7)
    matlab(path, x, y)
    return "matlab-axes", x, y


# PyTables and pandas.


def pandas_table(path):
    rows = np.zeros(300, [("index", "i8"), ("f0", "f4"), ("f1", "f4"), ("label", "i8")])
    rows["f0"], rows["f1"], rows["label"] = numbers(300), 1 - numbers(300), np.arange(300) % 3
    with h5py.File(path, "w") as file:
        marked(file.create_group("df"), CLASS="GROUP", pandas_type="frame_table")
        marked(file.create_dataset("df/table", data=rows, chunks=(64,)), CLASS="TABLE")
        marked(file.create_group("df/_i_table"), CLASS="TINDEX")
        for column in ("index", "label"):
            index = marked(file.create_group(f"df/_i_table/{column}"), CLASS="INDEX")
            for name, size in (("indicesLR", 131_072), ("sortedLR", 131_201)):
                made = index.create_dataset(name, (size,), "i4", chunks=(1024,), compression="gzip")
                marked(made, CLASS="LASTROWARRAY")[:300] = 1
    return "table", np.stack([rows["f0"], rows["f1"]], 1), rows["label"]


def one_column_beside_the_label(path):
    """A block of columns of one type, as pandas stores them unless told otherwise."""
    rows = np.zeros(300, [("index", "i8"), ("values_block_0", "f8", (5,)), ("label", "i8")])
    rows["values_block_0"], rows["label"] = numbers(300, 5), np.arange(300) % 3
    with h5py.File(path, "w") as file:
        file["a_long_name_of_a_frame/table"] = rows
    return "table", rows["values_block_0"], rows["label"]


def pandas_fixed(path, columns=("a", "b", "c"), label="label", pickled=False):
    x, y = numbers(300, len(columns)), (np.arange(300) % 3)[:, None]
    with h5py.File(path, "w") as file:
        group = marked(file.create_group("df"), pandas_type="frame", nblocks=2)
        group["axis0"] = np.array([*columns, label], "S")
        group["axis1"] = np.arange(300)
        group["block0_items"] = np.array(columns, "S")
        group["block0_values"] = x
        group["block1_items"] = np.array([label], "S")
        if pickled:
            kind = h5py.vlen_dtype("u1")
            made = marked(group.create_dataset("block1_values", (1,), kind), PSEUDOATOM="object")
            made[0] = np.frombuffer(b"\x80\x04pickle", "u1")
        else:
            group["block1_values"] = y
    return "data-frame", x, None if pickled else y[:, 0]


def pandas_fixed_with_label_among_the_columns(path):
    _, x, _ = pandas_fixed(path, ("a", "target", "c"), "n")
    return "data-frame", x[:, [0, 2]], x[:, 1]


def pandas_fixed_with_text(path):
    return pandas_fixed(path, label="s", pickled=True)


# netCDF.


def scaled(path, stored, factor, offset, fill, **marks):
    with h5py.File(path, "w") as file:
        made = file.create_dataset("t2m", data=stored)
        marked(made, scale_factor=factor, add_offset=offset, _FillValue=fill, **marks)
        file["rain"] = np.arange(len(stored)) % 2
        for name, size in (("time", len(stored)), ("lat", 4), ("lon", 5)):
            file[name] = np.arange(size, dtype="f8")
            file[name].make_scale(name)
        for axis, name in enumerate(("time", "lat", "lon")):
            made.dims[axis].attach_scale(file[name])


def netcdf(path):
    stored = np.random.default_rng(0).integers(-999, 999, (30, 4, 5), np.int16)
    stored[3, 3, 3] = -32767
    scaled(path, stored, np.array([0.01]), np.array([273.15]), np.array([-32767], "i2"))
    x = stored.astype("f4") * 0.01 + 273.15
    x[3, 3, 3] = np.nan
    return "packed-values", x, np.arange(30) % 2


def netcdf_unsigned(path):
    stored = np.random.default_rng(0).integers(0, 255, (30, 4, 5)).astype("u1")
    scaled(path, stored.view("i1"), 0.5, 1.0, np.int8(-1), _Unsigned="true")
    x = stored.astype("f4") * 0.5 + 1.0
    x[stored == 255] = np.nan
    return "packed-values", x, np.arange(30) % 2


def netcdf_floats(path):
    """Nothing is scaled, and one value is missing."""
    x = numbers(30, 4, 5).astype("f8")
    x[2, 1] = -9999.0
    scaled(path, x, 1.0, 0.0, -9999.0)
    return "packed-values", np.where(x == -9999, np.nan, x), np.arange(30) % 2


def packed_targets(path):
    x, y = numbers(30, 6), np.arange(30, dtype="i4")
    with h5py.File(path, "w") as file:
        file["features"] = x
        file["target"] = y
        marked(file["target"], scale_factor=0.5)
    return "packed-values", x, y * 0.5


# Values that no layer takes.


def image_files(path):
    x, files = squares(20)
    y = np.arange(20) % 4
    with h5py.File(path, "w") as file:
        put_ragged(file, "images", "u1", files)
        file["labels"] = y
    return "ragged-samples", x, y


def series(path):
    """Of unequal length, with text as labels."""
    rows = [numbers(1 + i % 5) for i in range(40)]
    with h5py.File(path, "w") as file:
        put_ragged(file, "x", "f4", rows)
        file["label"] = ["cat", "dog"] * 20
    x = np.stack([np.pad(row, (0, 5 - len(row))) for row in rows])
    return "ragged-samples", x, np.arange(40) % 2


def put_ragged(file, name, dtype, rows):
    made = file.create_dataset(name, (len(rows),), h5py.vlen_dtype(dtype))
    for i, row in enumerate(rows):
        made[i] = row
    return made


def text_labels(path):
    x = numbers(100, 8)
    with h5py.File(path, "w") as file:
        file["features"] = x
        file["id"] = np.arange(100)
        file["label"] = ["eel", "cat"] * 50
    return "text-labels", x, 1 - np.arange(100) % 2


def short_text_labels(path):
    """Of fixed length, under a name that says nothing, beside names of files."""
    x = numbers(100, 8)
    with h5py.File(path, "w") as file:
        file["features"] = x
        file["species"] = np.array([b"eel", b"cat"] * 50)
    return "text-labels", x, 1 - np.arange(100) % 2


def complex_numbers(path):
    x = numbers(50, 16) + 1j * numbers(50, 16)
    with h5py.File(path, "w") as file:
        file["spectra"] = x
        file["label"] = np.arange(50) % 2
    return "complex-numbers", np.stack([x.real, x.imag], -1), np.arange(50) % 2


def nwb(path):
    x = numbers(1000, 4)
    with h5py.File(path, "w") as file:
        marked(file, nwb_version="2.6.0")
        file["acquisition/probe/data"] = x
        file["acquisition/probe/timestamps"] = np.arange(1000.0)
        file["units/spike_times"] = np.arange(30.0)
    return "nwb", x.reshape(10, 100, 4), None


READ = [
    *(a_group_each, a_group_each_beside_others, groups_under_numbers_beside_others),
    *(
        labels_beside_images_in_groups,
        a_group_each_in_groups,
        groups_of_one_dataset,
        labels_in_attributes,
        texts_in_attributes,
    ),
    *(a_folder_each_class, image_files_each, anndata, anndata_by_column, anndata_dense),
    *(anndata_of_old, tenx, scipy, scipy_without_shape, matlab_sparse, matlab_rows),
    *(matlab_stacked, matlab_without_target, matlab_targets, pandas_table),
    *(one_column_beside_the_label, pandas_fixed, pandas_fixed_with_label_among_the_columns),
    *(pandas_fixed_with_text, netcdf, netcdf_unsigned, netcdf_floats, packed_targets, image_files),
    *(series, text_labels, short_text_labels, complex_numbers, nwb),
]
"""Those of which samples can be made today."""
