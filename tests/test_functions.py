"""Functions are compared by what they do: in this process and in others."""

import functools
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from headrace.function_digest import IncomparableError, digest_of

BASE = """
import math
import numpy as np
from functools import partial, wraps
SCALE = 2.0
TABLE = {"cat": 0, "dog": 1}
KINDS = {"cat", "dog", "mouse"}
class Times:
    factor = 2
    def __init__(self, by=1):
        self.by = by
    def apply(self, x):
        return x * self.by * self.factor
    __call__ = apply
def plus(x, n=1):
    return x + n
def inner(k):
    def times(x):
        return x * k
    return times
def twice(fn):
    @wraps(fn)
    def both(x):
        return fn(fn(x))
    return both
"""

CHANGES = [
    ("def fn(x): return x * 2", "* 2", "* 3"),
    ("def fn(x): return x * 2", "x * 2", "x + 2"),
    ("def fn(x, n=1): return x + n", "n=1", "n=2"),
    ("def fn(x, *, n=1): return x + n", "n=1", "n=2"),
    ("def fn(x): return np.sqrt(x)", "np.sqrt", "np.log"),
    ("def fn(x): return [y * 2 for y in x]", "y * 2", "y * 3"),
    ("def fn(x): return x in {1, 2}", "{1, 2}", "{1, 3}"),
    ("def fn(x):\n try: return 1 / x\n except ValueError: return 0", "ValueError", "TypeError"),
    ("def fn(x): return x * SCALE", "2.0", "2.5"),
    ("def fn(x): return TABLE[x]", "1}", "2}"),
    ("def fn(x): return x in KINDS", "mouse", "house"),
    ("def fn(x): return plus(x)", "x + n", "x - n"),
    ("def fn(x): return plus(x)", "n=1", "n=2"),
    ("def fn(x): return (lambda y: plus(y))(x)", "x + n", "x - n"),
    ("fn = inner(3)", "inner(3)", "inner(4)"),
    ("fn = inner(np.arange(3))", "arange(3)", "arange(4)"),
    ("fn = inner(3)", "x * k", "x + k"),
    ("fn = partial(plus, n=3)", "n=3", "n=4"),
    ("fn = partial(plus, n=3)", "x + n", "x - n"),
    ("fn = Times(3)", "Times(3)", "Times(4)"),
    ("fn = Times(3)", "self.factor", "-self.factor"),
    ("fn = Times(3)", "factor = 2", "factor = 3"),
    ("fn = Times(3).apply", "self.factor", "-self.factor"),
    ("def fn(x): return Times(3)(x)", "self.factor", "-self.factor"),
    ("class More(Times): pass\nfn = More(3)", "self.factor", "-self.factor"),
    ("@twice\ndef fn(x): return x * 2", "* 2", "* 3"),
    ("@twice\ndef fn(x): return x * 2", "fn(fn(x))", "fn(x)"),
    ("def fn(x): return x and fn(x - 1)", "x - 1", "x - 2"),
    ("fn = np.sqrt", "sqrt", "log"),
    ("fn = 'cat'.join", "cat", "dog"),
]


def made(source):
    """The function `fn` of a program that was run just now."""
    names = {"__name__": "__main__"}
    exec(compile(source, "program.py", "exec"), names)
    return names["fn"]


@pytest.mark.parametrize("source, old, new", CHANGES)
def test_a_function_that_does_something_else_differs(source, old, new):
    """Wherever the change is: in it, or in what it refers to."""
    whole = f"{BASE}\n{source}\n"
    assert old in whole
    first = digest_of(made(whole))
    assert digest_of(made(whole)) == first
    assert digest_of(made(whole.replace(old, new))) != first


@pytest.mark.parametrize("source", [source for source, _, _ in CHANGES])
def test_what_a_function_does_not_depend_on_does_not_count(source):
    """Its place, comments, and what else the program holds."""
    first = digest_of(made(f"{BASE}\n{source}\n"))
    moved = (
        f"# Moved.\n\n{BASE}\nOTHER = 5\ndef other(x): return OTHER\n\n\n{source}  # as before\n"
    )
    assert digest_of(made(moved)) == first


def test_the_digest_is_the_same_in_another_process():
    """Whatever the order of sets is there."""
    program = f"{BASE}\n" + "\n".join(
        f"{source}\ndigests.append(digest_of(fn))" for source, _, _ in CHANGES
    )
    start = "from headrace.function_digest import digest_of\ndigests = []\n"
    found = [
        subprocess.run(
            [sys.executable, "-c", f"{start}{program}\nprint(*digests)"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1]
    assert len(found[0].split()) == len(CHANGES)


def test_modules_of_the_program_are_looked_into(tmp_path, monkeypatch):
    """What a function takes of them, as far as it is known, or else all of their text."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    uses = {
        "import helpers\ndef fn(x): return helpers.scale(x)": ("x * 2", "x * 3"),
        "from helpers import scale\ndef fn(x): return scale(x)": ("FACTOR = 1", "FACTOR = 2"),
        "import helpers\ndef fn(x): return getattr(helpers, 'scale')(x)": ("x * 2", "x * 3"),
        "def fn(x):\n import helpers\n return helpers.scale(x)": ("x * 2", "x * 3"),
    }
    text = "FACTOR = 1\ndef scale(x): return x * 2 * FACTOR\n"
    for source, change in uses.items():
        digests = []
        for version in (text, text, text.replace(*change)):
            (tmp_path / "helpers.py").write_text(version)
            sys.modules.pop("helpers", None)
            digests.append(digest_of(made(source)))
        assert digests[0] == digests[1] != digests[2], source


def test_libraries_are_known_by_name_and_version(monkeypatch):
    """Their code is not looked into."""
    for function in (np.sqrt, math.sqrt, ndimage.zoom, np.random.default_rng, np.float32):
        assert digest_of(function) == digest_of(function)
    before = digest_of(ndimage.zoom)
    monkeypatch.setattr("scipy.__version__", "0.0")
    assert digest_of(ndimage.zoom) != before


def test_what_has_no_content_to_compare_is_said():
    """A lock, a generator, an open file; also deep inside."""
    lock = threading.Lock()

    def locked(x):
        with lock:
            return x

    for value, word in (
        (locked, "lock"),
        (functools.partial(print, file=(1 for _ in ())), "gener"),
    ):
        with pytest.raises(IncomparableError, match=word):
            digest_of(value)
    with Path(__file__).open() as file, pytest.raises(IncomparableError, match="TextIOWrapper"):
        digest_of(file.read)
    deep = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(IncomparableError, match="deep"):
        digest_of(lambda x: deep)


def test_arrays_are_compared_by_their_values():
    """Of any kind, and also where they are not contiguous."""
    values = np.arange(12.0).reshape(3, 4)
    assert digest_of(values.T) == digest_of(values.T.copy())
    digests = {
        digest_of(array)
        for array in (values, values.T, values.astype("f4"), values.ravel(), -values, values > 3)
    }
    assert len(digests) == 6
    objects = np.array([{1: "a"}, None], object)
    assert digest_of(objects) != digest_of(np.array([{1: "b"}, None], object))
    assert digest_of(np.float32(1)) != digest_of(np.float32(2))
    assert digest_of(np.dtype("f4")) != digest_of(np.dtype("f8"))
