"""`Table`: named columns of the same rows, in files or in memory."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from headrace.sources.base import Source
from headrace.sources.tables.encoders import Encoder
from headrace.spec import Column


class Table(ABC):
    """Named columns of the same rows.

    Attributes:
        names: The columns, in their order.
    """

    names: tuple[str, ...]

    @property
    @abstractmethod
    def where(self) -> str:
        """The files, or the object, for messages."""

    @abstractmethod
    def column(self, name: str) -> Column:
        """What a column holds.

        Raises:
            FieldNotFoundError: If there is no such column.
            TypeNotSupportedError: If nothing can be made of its values.
        """

    @abstractmethod
    def encoder(self, name: str, fill: float | None = None) -> Encoder:
        """What makes a field of one column, as it is.

        Args:
            name: The column.
            fill: The number in place of missing ones.

        Raises:
            FieldNotFoundError, TypeNotSupportedError: As `column`.
        """

    @abstractmethod
    def source(self, encoders: Sequence[Encoder]) -> Source:
        """A source of the fields that encoders make."""


def named(paths: Sequence[str]) -> str:
    """The files of a table, for messages: the first one, and how many more there are."""
    return repr(paths[0]) + (f" and {len(paths) - 1} more files" if len(paths) > 1 else "")
