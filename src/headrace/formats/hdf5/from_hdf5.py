"""`from_hdf5`: samples in HDF5 files."""

from headrace.dataset import Dataset
from headrace.formats.hdf5 import HDF5
from headrace.formats.opening import dataset_of
from headrace.sources.paths import Paths
from headrace.spec import Structure


def from_hdf5(
    path: Paths,
    x: Structure = None,
    y: Structure = None,
    sample_weight: str | None = None,
    *,
    start: int = 0,
    end: int | None = None,
    allow_external: bool = False,
) -> Dataset:
    """Samples in datasets of an HDF5 file, or of several as if they were one.

    Nothing but the file's index is read until samples are asked for. Contiguous data,
    uncompressed chunks, and chunks behind the usual filters (gzip, lzf, szip, zstd, bzip2, lz4,
    blosc, blosc2, shuffle, bitshuffle, fletcher32) are read directly and decoded on all cores;
    everything else goes through h5py, slower and just as right.

    Args:
        path: The file; a list of files, whose rows follow each other; or a pattern such as
            `"shards/*.h5"` (`**` stands for folders of any depth), whose files come
            in natural order, `shard2` before `shard10`. A file that a list names twice is used
            twice; one that several patterns match, once.
        x: The model's input: the name of a dataset such as `"image"` or `"group/image"`, a
            list of names for several inputs, or a dict of names for named inputs. A member of
            compound values is named as in h5py, `"jets['pt']"` or `"event['jet']['pt']"`;
            members of one dataset are read together. None takes the only dataset that `y` and
            `sample_weight` leave, `...` all that they leave.
        y: The target, likewise; None for data without one. A file that `pack` wrote knows its
            x, y and sample_weight, if none of them is named.
        sample_weight: Name of a dataset with a weight for each sample.
        start: First row used, counted over all files.
        end: Row before which to stop; None for the end of the data. Fields of one file may have
            more rows than that, and not all the same number.
        allow_external: Whether a file may keep data in files anywhere: through external storage,
            external links, and virtual datasets of files outside its folder. Such a file can
            name any file that you may read, so say True only if you trust it.

    Returns:
        A `Dataset`. Fields keep their dtype, in native byte order.

    Raises:
        MissingFileError: If there is no such file, or a pattern matches none.
        FileFormatError: If it is not an HDF5 file, or is damaged.
        LockedFileError: If another process is writing to it.
        FieldNotFoundError: If it has no such dataset, or a dataset no such member.
        ShapeError: If a dataset is scalar or empty, or they differ in length and some end before
            `end`.
        TypeNotSupportedError: If a dataset holds variable-length values.
        DataError: If files differ in the shape or dtype of a field, or data lie in other files
            and may not, or are missing there.
        OptionError: If `start` and `end` do not name rows of the data.

    Example:

    ```python
    data = hr.from_hdf5("cats.h5", x="image", y="label")
    data = hr.from_hdf5("cats.h5", x={"photo": "image", "age": "meta/age"}, y="label")
    data = hr.from_hdf5("shards/*.h5", x="image", y="label")
    data = hr.from_hdf5("jets.h5", x=["jets['pt']", "jets['mass']"], y="jets['tag']")
    ```
    """
    options = {"allow_external": allow_external}
    return dataset_of(path, (x, y, sample_weight), start, end, options, HDF5())
