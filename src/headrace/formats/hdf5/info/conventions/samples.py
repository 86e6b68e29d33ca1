"""Files in which each sample is a group or a dataset of its own."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from headrace.errors import HeadraceError
from headrace.formats.advice import Advice
from headrace.formats.hdf5.info.conventions.finding import (
    Finding,
    below,
    is_text,
    names_of,
    shape_of,
)
from headrace.formats.hdf5.info.conventions.images import IMPORTS, image_kind
from headrace.formats.hdf5.info.conventions.join_command import Label, join_command
from headrace.formats.hdf5.info.similar import numbered, pattern
from headrace.formats.roles import is_input, is_label
from headrace.sources.hdf5.marks import LABELS, first_values
from headrace.sources.hdf5.survey import Found, Survey

MANY = 10
"""So many numbered groups or datasets of one form are samples; fewer are parts or fields."""

MANY_DATASETS = 100
"""So many datasets of one form, whatever their names, are samples and not fields."""

FEW = 3
"""Groups of rows, under numbered names."""

_CODE = """\
{imports}
class Samples:
    def __init__(self, data):
        self.data = data
        self.names = {names}{labels}

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        sample = self.data[self.names[index]]
        return {sample}

samples = Samples(h5py.File({path}){group})
loader = hr.from_sequence(samples, {batches}shuffle=True)"""

_IN_FOLDERS = 'f"{folder}/{name}" for folder in data for name in data[folder]'

_TEXTS = """
        texts = [{value} for name in self.names]
        self.classes, self.labels = np.unique(texts, return_inverse=True)"""


@dataclass(frozen=True)
class _Units:
    """Groups or datasets that are samples.

    Attributes:
        group: What they are in.
        items: Those that were looked at.
        depth: 1 if the group holds them itself, 2 if groups in it do.
        number: How many there are, as far as that is known.
        complete: Whether these are all.
        test: Code that tells whether a name is one of theirs; "" where all are.
    """

    group: Found
    items: list[Found]
    depth: int
    number: int
    complete: bool
    test: str = ""

    @property
    def are_groups(self) -> bool:
        """Whether each holds several datasets."""
        return self.items[0].kind == "group"

    @property
    def names(self) -> str:
        """Code that goes through their names in `data`."""
        if self.depth > 1:
            return _IN_FOLDERS
        return f"name for name in data{self.test and f' if {self.test}'}"

    @property
    def listed(self) -> str:
        """Code that lists them."""
        if self.depth > 1 or self.test:
            return f"[\n            {self.names}\n        ]"
        return "list(data)"

    def fields(self) -> dict[str, list[Found]]:
        """What all of them hold: names in a sample ("" for the sample itself), in each of them."""
        if not self.are_groups:
            return {"": self.items} if _are_alike(self.items) else {}
        inside = [{i.name[len(one.name) + 1 :]: i for i in below(one)} for one in self.items]
        names = [name for name in inside[0] if all(name in others for others in inside)]
        found = {name: [others[name] for others in inside] for name in names}
        return {name: items for name, items in found.items() if _are_alike(items)}


def samples(path: str, survey: Survey) -> Iterator[Finding]:
    """Groups or datasets of one form, each of which is a sample."""
    hidden = survey.hidden
    for group in survey.groups():
        inside = names_of(below(group))
        if inside <= hidden:
            continue
        for units in (_in_folders(group), _in_group(group)):
            fields = units.fields() if units else {}
            if units and fields and _are_samples(units, fields):
                hidden |= inside
                yield from _findings(path, units, fields)
                break


def _in_group(group: Found) -> _Units | None:
    """Candidates in a group itself: most of its objects, if their names are of one kind."""
    items, test = group.children, ""
    [(common, _)] = Counter(map(pattern, items)).most_common(1)
    others = [item for item in items if pattern(item) != common]
    start = common.partition("#")[0]
    alone = "#" in common and not any(item.leaf.startswith(start) for item in others)
    if others and (common == "#" or (alone and start)):
        items = [item for item in items if item not in others]
        test = f"name.startswith({start!a})" if start else "name.isdigit()"
    number = group.inside - (len(others) if test else 0)
    complete = len(group.children) == group.inside
    return _Units(group, usable, 1, number, complete, test) if (usable := _usable(items)) else None


def _in_folders(group: Found) -> _Units | None:
    """Candidates in the groups of a group."""
    folders = [item for item in group.children if item.kind == "group"]
    if len(folders) != len(group.children) or len(folders) < 2:
        return None
    items = [one for folder in folders for one in folder.children]
    number = sum(folder.inside for folder in folders)
    complete = len(folders) == group.inside and number == len(items)
    return _Units(group, usable, 2, number, complete) if (usable := _usable(items)) else None


def _usable(items: list[Found]) -> list[Found]:
    """Those of which it is known what they hold, if all are groups or all datasets."""
    if {item.kind for item in items} not in ({"group"}, {"dataset"}):
        return []
    known = [one for one in items if one.kind == "dataset" or 0 < one.inside == len(one.children)]
    return known if len(known) > 1 else []


def _are_samples(units: _Units, fields: dict[str, list[Found]]) -> bool:
    if not any(shape_of(items[0]) for items in fields.values()):
        return False
    if units.are_groups:
        least = FEW if numbered(units.items) and _are_rows(fields) else MANY
        # Folders of parts, such as train/ and test/, may hold fields of one form each.
        return units.number >= least and (units.depth == 1 or numbered(units.items))
    if units.items[0].error or _have_rows_beside(units):
        return False
    columns = len(shape_of(units.items[0])) == 1
    least = MANY if numbered(units.items) and not columns else MANY_DATASETS
    return units.number >= least * units.depth


def _have_rows_beside(units: _Units) -> bool:
    """Whether a dataset beside them has as many rows as each of them: they are fields, then."""
    rows = {shape_of(item)[:1] for item in units.items}
    names = names_of(units.items)
    beside = {shape_of(item)[:1] for item in units.group.children if item.name not in names}
    return len(rows) == 1 and rows <= beside


def _are_alike(items: list[Found]) -> bool:
    forms = {(i.storage.dtype, len(shape_of(i))) if i.storage else None for i in items}
    return len(forms) == 1 and None not in forms


def _are_rows(fields: dict[str, list[Found]]) -> bool:
    """Whether the datasets of a group run over the same rows: a series, not a sample."""
    if len(fields) < 2:
        return False
    for items in zip(*fields.values(), strict=True):
        shapes = [shape_of(item) for item in items]
        if len({shape[:1] for shape in shapes}) > 1 or shapes[0][:1] in ((), (1,)):
            return False
        if len({shape[1:2] for shape in shapes}) == 1 and shapes[0][1:2]:
            # An image and its mask, say.
            return False
    return True


# The advice.


def _findings(path: str, units: _Units, fields: dict[str, list[Found]]) -> Iterator[Finding]:
    group = units.group.name
    rows = units.are_groups and _are_rows(fields)
    label = _label(units, fields)
    x, image = _inputs(path, fields)
    ragged = not image and any(len({shape_of(i) for i in items}) > 1 for items in fields.values())
    in_text = label is not None and label.is_text
    numpy = "import numpy as np\n" * in_text
    code = _CODE.format(
        imports=IMPORTS if image else f"import h5py\n{numpy}import headrace as hr\n",
        names=units.listed,
        labels=_TEXTS.format(value=label.value) if label and in_text else "",
        sample=x + _target(label),
        path=ascii(path),
        group=f"[{group!a}]" if group else "",
        batches="" if rows else f"batch_size={1 if ragged else 32}, ",
    )
    text = _said(units, rows=rows, ragged=ragged, image=image)
    notes = "" if label else next(iter(units.items[0].attributes), "")
    if notes:
        text = f"{text.rstrip(':')}. Their attributes, such as {notes}, may hold labels:"
    hidden = names_of(below(units.group))
    kind = "samples-in-groups" if units.are_groups else "samples-in-datasets"
    yield Finding(Advice(kind, (group or "/",), text, "python", code), hidden)
    storage = units.items[0].storage
    if storage and storage.is_number and not (units.are_groups or ragged or image):
        text = (
            f"Its {units.number:,} objects are read faster as one dataset. This writes a file that "
            f"has it, with {'labels and ' * (label is not None)}names beside it; attributes are "
            "not copied."
        )
        command = join_command(path, group, units.names, label, storage, units.number)
        yield Finding(Advice("samples-apart", (group or "/",), text, "shell", command))


def _said(units: _Units, *, rows: bool, ragged: bool, image: str) -> str:
    """What the samples are, and how they are read."""
    kind = "groups" if units.are_groups else "datasets"
    least = "" if units.complete or units.depth == 1 else "at least "
    text = f"It holds {least}{units.number:,} {kind} of one form, "
    if rows:
        return (
            f"{text}each a series of rows, it seems. from_hdf5 would read a single one; "
            "from_sequence takes the rows of one as a batch:"
        )
    text += f"each a sample, it seems{f', with {image} files' * bool(image)}. For from_hdf5 a "
    text += "sample is a row of a dataset; from_sequence takes them one by one"
    if ragged:
        text += ". Their shapes differ: cut or pad them in __getitem__ to have larger batches"
    if units.are_groups or image or len(shape_of(units.items[0])) > 1:
        return f"{text}:"
    return f"{text}. (Columns of a table are fine as they are.)"


def _label(units: _Units, fields: dict[str, list[Found]]) -> Label | None:
    """Where the labels are: in a dataset, an attribute, or the name of a folder."""
    for name, items in fields.items():
        if name and is_label(name) and (is_text(items[0]) or _is_number(items[0])):
            return Label(f"data[name][{name!a}][()]", is_text(items[0]))
    places = {"data[name]": units.items}
    places |= {f"data[name][{name!a}]": items for name, items in fields.items() if name}
    for place, items in places.items():
        for name in LABELS:
            values = [item.marks.get(name) for item in items]
            for kind, in_text in ((str, True), ((int, float), False)):
                if all(isinstance(value, kind) for value in values):
                    return Label(f"{place}.attrs[{name!a}]", in_text)
    folders = [item for item in units.group.children if item.kind == "group"]
    if units.depth > 1 and not numbered(folders):
        return Label('name.split("/")[0]', True)
    return None


def _target(label: Label | None) -> str:
    """Code that gives y of a sample, behind x."""
    if label is None:
        return ""
    if label.is_text:
        return ", self.labels[index]"
    return f", {label.value.replace('data[name]', 'sample')}"


def _inputs(path: str, fields: dict[str, list[Found]]) -> tuple[str, str]:
    """Code that gives x of a sample, and the kind of image file that it decodes, or ""."""
    usable = [
        name
        for name, items in fields.items()
        if _is_number(items[0]) and not (name and is_label(name))
    ]
    named = [name for name in usable if is_input(name)]
    values = {name: f"sample[{name!a}][()]" if name else "sample[()]" for name in usable}
    if len(named) == 1 or len(usable) == 1:
        [name] = named if len(named) == 1 else usable
        image = _stored_image(path, fields[name][0])
        return (f"decode({values[name]})" if image else values[name]), image
    lines = "".join(f"            {name!a}: {code},\n" for name, code in values.items())
    return f"{{\n{lines}        }}", ""


def _stored_image(path: str, item: Found) -> str:
    """The kind of image file that the bytes of a dataset are; "" if they are none."""
    if len(shape_of(item)) != 1 or not item.storage or item.storage.dtype not in ("uint8", "int8"):
        return ""
    try:
        return image_kind(np.array(first_values(path, item.name, 12), item.storage.dtype))
    except HeadraceError:
        return ""


def _is_number(item: Found) -> bool:
    return item.storage is not None and item.storage.is_number
