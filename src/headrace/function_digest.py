"""Digests of functions, over their code and everything that the code refers to."""

import builtins
import copyreg
import dis
import functools
import importlib.util
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

_ATOMS = (bool, int, float, complex, str, bytes, range, slice, type(None), type(...))
_LIBRARIES = ("site-packages", "dist-packages")
_IGNORED_CLASS_ATTRIBUTES = (
    *("__module__", "__doc__", "__dict__", "__weakref__", "__firstlineno__", "__qualname__"),
    *("__static_attributes__", "__annotations__", "__annotate_func__", "__annotations_cache__"),
    *("__dataclass_fields__", "__dataclass_params__", "_abc_impl"),
)
"""Attributes of classes that do not affect the behaviour of their methods."""


class IncomparableError(Exception):
    """A value that cannot be compared with its counterpart in another process."""


def digest_of(value: Any) -> str:
    """A short text that changes when a function or a value that it uses changes.

    The digest covers the function's bytecode, defaults and closure, and those of the functions and
    classes of the program that it refers to; the contents of arrays and other values; and the
    names and versions of objects from installed libraries. Line numbers have no influence.

    Args:
        value: A function, or any other callable.

    Raises:
        IncomparableError: If it refers to an object without comparable content, such as a lock, an
            open file or a generator.
    """
    try:
        return _Digests().of(value).hex()
    except RecursionError:
        raise IncomparableError("values nested very deep") from None


class _Digests:
    """Digests of values, each computed from the digests of the value's parts."""

    def __init__(self) -> None:
        # The values are kept alive, so that Python does not give their id to another object.
        self._finished: dict[int, tuple[Any, bytes]] = {}
        self._in_progress: dict[int, int] = {}

    def of(self, value: Any) -> bytes:
        """The digest of a value."""
        if type(value) in _ATOMS:
            return _joined("atom", type(value).__name__, repr(value))
        key = id(value)
        if key in self._finished:
            return self._finished[key][1]
        if key in self._in_progress:  # a cycle, such as a function that calls itself
            return _joined("within", len(self._in_progress) - self._in_progress[key])
        self._in_progress[key] = len(self._in_progress)
        made = _joined(*self._parts(value))
        del self._in_progress[key]
        self._finished[key] = value, made
        return made

    def _each(self, values: Any) -> list[bytes]:
        return [self.of(value) for value in values]

    def _parts(self, value: Any) -> Iterator[Any]:
        """The type of a value, and the digests of its parts."""
        yield type(value).__name__
        named = _library_name(value)
        if named is not None:
            yield named
            return
        parts = _TYPES.get(type(value))
        for kind, some in _KINDS.items():
            if isinstance(value, kind):
                parts = some
        yield from self._object(value) if parts is None else parts(self, value)

    def _class(self, kind: type) -> Iterator[bytes]:
        kept = {
            name: item for name, item in vars(kind).items() if name not in _IGNORED_CLASS_ATTRIBUTES
        }
        yield from (self.of(kind.__bases__), self.of(kept))

    def _set(self, values: Any) -> list[bytes]:
        return sorted(self._each(values))

    def _mapping(self, values: Any) -> list[bytes]:
        return self._each(item for pair in values.items() for item in pair)

    def _method(self, method: Any) -> Iterator[bytes]:
        yield from (self.of(method.__func__), self.of(getattr(method, "__self__", None)))

    def _property(self, value: property) -> list[bytes]:
        return self._each((value.fget, value.fset, value.fdel))

    def _cached(self, value: "functools.cached_property[Any]") -> Iterator[bytes]:
        yield self.of(value.func)

    def _function(self, function: types.FunctionType) -> Iterator[bytes]:
        yield self.of(function.__code__)
        yield self.of(function.__defaults__)
        yield self.of(function.__kwdefaults__)
        yield self.of(function.__dict__)
        for cell in function.__closure__ or ():
            try:
                yield self.of(cell.cell_contents)
            except ValueError:  # not assigned yet
                yield b"empty"
        for names in sorted(set(_names_in(function.__code__))):
            yield self.of(names)
            yield self._global(function.__globals__, *names)

    def _code(self, code: types.CodeType) -> Iterator[bytes]:
        counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
        names = code.co_names, code.co_varnames, code.co_cellvars, code.co_freevars
        handlers = getattr(code, "co_exceptiontable", b"")
        yield from self._each((code.co_code, handlers, counts, names, code.co_consts))

    def _global(self, names: dict[str, Any], name: str, *attributes: str) -> bytes:
        """The digest of a global name; attributes of the program's own modules are resolved."""
        if name.startswith("import "):
            return _joined(_imported(name.removeprefix("import ")))
        missing = object()
        value = names.get(name, getattr(builtins, name, missing))
        for attribute in attributes:
            if not isinstance(value, types.ModuleType) or _is_library(value.__name__):
                break
            value = getattr(value, attribute, missing)
        return b"missing" if value is missing else self.of(value)

    def _array(self, value: Any) -> Iterator[Any]:
        if value.dtype.hasobject:
            yield from (value.shape, self.of(value.tolist()))
        else:
            yield from (repr(value.dtype), value.shape, value.tobytes())

    def _object(self, value: Any) -> Iterator[Any]:
        """The digests of an object's class and state, as pickle would save them."""
        reduce = copyreg.dispatch_table.get(type(value))
        try:
            found = value.__reduce_ex__(4) if reduce is None else reduce(value)
        except Exception as error:
            raise IncomparableError(f"a {type(value).__name__}") from error
        yield self.of(type(value))
        if isinstance(found, str):
            yield found
            return
        for part in found:
            # __reduce_ex__ gives the items of subclasses of list and dict as iterators.
            yield self.of(list(part) if isinstance(part, Iterator) else part)


_Parts = Callable[[_Digests, Any], Iterable[Any]]

_TYPES: dict[type, _Parts] = {
    types.FunctionType: _Digests._function,
    types.CodeType: _Digests._code,
    types.ModuleType: lambda _, module: [_file_of(module.__file__)],
    types.MethodType: _Digests._method,
    types.MemberDescriptorType: lambda _, member: [member.__name__],
    types.GetSetDescriptorType: lambda _, member: [member.__name__],
    staticmethod: _Digests._method,
    classmethod: _Digests._method,
    property: _Digests._property,
    functools.cached_property: _Digests._cached,
    tuple: _Digests._each,
    list: _Digests._each,
    set: _Digests._set,
    frozenset: _Digests._set,
    dict: _Digests._mapping,
    types.MappingProxyType: _Digests._mapping,
    np.ndarray: _Digests._array,
}
"""The parts of values of exactly these types; subclasses are not included."""

_KINDS: dict[type, _Parts] = {
    type: _Digests._class,
    np.generic: _Digests._array,
    np.dtype: lambda _, dtype: [repr(dtype)],
}


def _joined(*parts: Any) -> bytes:
    digest = blake2b(digest_size=16)
    for part in parts:
        raw = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.digest()


def _names_in(code: types.CodeType) -> Iterator[tuple[str, ...]]:
    """The global names that code refers to, each with the attributes that it reads from them."""
    names: list[str] = []
    for step in dis.get_instructions(code):
        if names and step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            names.append(step.argval)
            continue
        if names:
            yield tuple(names)
        names = []
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            names = [step.argval]
        elif step.opname == "IMPORT_NAME":
            yield (f"import {step.argval}",)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _library_name(value: Any) -> str | None:
    """The version and name of an object of an installed library; None for other objects."""
    if isinstance(value, types.ModuleType):
        return _version(value.__name__) if _is_library(value.__name__) else None
    module = getattr(value, "__module__", None) or getattr(type(value), "__module__", None)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not _is_library(module):
        return None
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{_version(module)} {name}" if found is value else None


def _is_library(module: str) -> bool:
    """Whether a module belongs to an installed library and not to the program itself."""
    if module == "__main__" or module not in sys.modules:
        return False
    if module.partition(".")[0] == __name__.partition(".")[0]:
        return True
    file = getattr(sys.modules[module], "__file__", None)
    if file is None:
        return True  # built into Python, or a namespace package
    path = Path(file)
    standard = Path(sysconfig.get_path("stdlib"))
    return path.is_relative_to(standard) or any(part in _LIBRARIES for part in path.parts)


def _version(module: str) -> str:
    top = sys.modules.get(module.partition(".")[0])
    return f"{module} {getattr(top, '__version__', '')}"


def _file_of(path: str | None) -> bytes:
    """The text of a module of the program.

    Raises:
        IncomparableError: If the module has no file.
    """
    if path is None or not Path(path).is_file():
        raise IncomparableError("a module without a file")
    return Path(path).read_bytes()


def _imported(name: str) -> bytes | str:
    """The digest input for a module that a function imports when it runs."""
    if _is_library(name):
        return _version(name)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    path = None if spec is None else spec.origin
    if path is not None and any(part in _LIBRARIES for part in Path(path).parts):
        return name
    return _file_of(path)
