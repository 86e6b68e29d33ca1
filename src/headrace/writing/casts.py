"""Casts values to another dtype; refuses values that would change."""

from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import LossError, OptionError

Array = npt.NDArray[Any]

_NUMBERS = "biufc"


def plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in native byte order; compound dtypes without padding between members.

    Padding bytes are undefined, and may differ from one read to the next.
    """
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return np.dtype((plain(base), shape))
    if dtype.names is None:
        return dtype.newbyteorder("=")
    return np.dtype([(name, plain(dtype[name])) for name in dtype.names])


class Cast:
    """Casts arrays to another dtype.

    Args:
        name: The name of the field, for messages.
        source: The dtype of the arrays.
        target: The dtype to cast to.
        allow_loss: Whether values may change: be rounded, cut off or wrapped, as NumPy does.

    Raises:
        OptionError: If there is no such cast, as from text to numbers.
    """

    KIND_WAY_OUT = "Use map() to turn it into numbers first."
    LOSS_WAY_OUT = "Choose another dtype, or say allow_loss=True to write what comes of it."

    def __init__(
        self, name: str, source: np.dtype[Any], target: np.dtype[Any], allow_loss: bool = False
    ) -> None:
        alike = source.kind in _NUMBERS and target.kind in _NUMBERS
        moved = source.names is not None and plain(source) == target
        if source != target and not alike and not (source.kind == target.kind == "S" or moved):
            raise OptionError(
                f"{name!r} holds {source}, which cannot be written as {target}. {self.KIND_WAY_OUT}"
            )
        self.name = name
        self.target = target
        # NumPy calls this cast safe, though a float has fewer bits than such an integer.
        rounds = source.kind in "iu" and source.itemsize == 8 and target.kind in "fc"
        self._safe = allow_loss or moved or (np.can_cast(source, target, "safe") and not rounds)

    @property
    def safe(self) -> bool:
        """Whether the cast never refuses a value."""
        return self._safe

    def __call__(self, values: Array) -> Array:
        """`values` in the target dtype, C-contiguous; the array itself if it already is.

        Args:
            values: Shape `(rows, ...)`.

        Raises:
            LossError: If a value would change; names the first one.
        """
        if values.dtype == self.target:
            return np.ascontiguousarray(values)
        # Values out of range are found below, unless loss is allowed.
        with np.errstate(invalid="ignore", over="ignore"):
            numbers = values.real if self.target.kind not in "cS" else values
            cast = np.ascontiguousarray(numbers.astype(self.target))
        if not self._safe:
            self._check(values, cast)
        return cast

    def _check(self, values: Array, cast: Array) -> None:
        changed = np.flatnonzero(self._lost(values, cast).reshape(len(values), -1).any(axis=1))
        if len(changed):
            row = int(changed[0])
            place = np.flatnonzero(self._lost(values[row : row + 1], cast[row : row + 1]))[0]
            before, after = (array[row].reshape(-1)[place].item() for array in (values, cast))
            raise LossError(
                row,
                f"{self.name!r} holds {before!r}, which {self.target} turns into {after!r}. "
                f"{self.LOSS_WAY_OUT}",
            )

    def _lost(self, values: Array, cast: Array) -> npt.NDArray[np.bool_]:
        """A mask of the values that the cast changed more than it may."""
        return _differ(values, cast)


def _differ(values: Array, cast: Array) -> npt.NDArray[np.bool_]:
    """A mask of the values that a cast changed."""
    source, target = values.dtype, cast.dtype
    if source.kind == "c":
        # Real and imaginary parts are compared separately.
        imaginary = _differ(values.imag, cast.imag) if target.kind == "c" else values.imag != 0
        return _differ(values.real, cast.real) | imaginary
    if target.kind == "S":
        same: npt.NDArray[np.bool_] = values == cast
        return ~same
    with np.errstate(invalid="ignore", over="ignore"):
        differ: npt.NDArray[np.bool_] = cast.real.astype(source) != values
    if source.kind in "iu" and target.kind in "iu":
        # -1 wraps to the largest unsigned value, and back to -1.
        differ |= (values < 0) != (cast < 0)
    if source.kind == "f":
        # NaN stays NaN if the target has one.
        differ &= ~(np.isnan(values) & (np.isnan(cast) if target.kind in "fc" else False))
    # Beyond the range of integers, the result of a cast depends on the machine, in both directions.
    if source.kind == "f" and target.kind in "iu":
        real = values.astype(np.float64)
        differ |= ~((real >= float(np.iinfo(target).min)) & (real < 2.0 ** _value_bits(target)))
    if source.kind in "iu" and target.kind in "fc":
        differ |= (cast.real.astype(np.float64) >= 2.0 ** _value_bits(source)) | np.isinf(cast.real)
    return differ


def _value_bits(dtype: np.dtype[Any]) -> int:
    """The number of value bits of an integer dtype, without the sign bit."""
    return int(np.iinfo(dtype).max).bit_length()
