"""From columns to fields: how what a file holds becomes arrays of one shape and dtype."""

from headrace.errors import DataError, TypeNotSupportedError
from headrace.sources import Source


def with_fields(source: Source, where: str) -> Source:
    """A source whose columns are all fields, made of one that was asked for some columns.

    A field has one shape and one dtype, and a value in every row. Numbers, booleans and text of
    one length are fields as they are. What is not has no way to become one yet, and is refused.

    Args:
        source: Reads the columns.
        where: What it reads, for messages.

    Raises:
        TypeNotSupportedError: If a column has no dtype of one size.
        DataError: If values may be missing in a column.
    """
    for column in source.columns:
        if column.dtype is None:
            raise TypeNotSupportedError(
                f"{column.name!r} in {where} holds values of the type {column.type}, which have no "
                "fixed size. Expected numbers, booleans or text of one length. Leave the column "
                "out, or write it anew as numbers."
            )
        if column.missing:
            raise DataError(
                f"Values may be missing in {column.name!r} in {where}, and a model takes a number "
                "for every sample. Leave the column out, or write a number in place of each."
            )
    return source
