"""HTML tables for notebooks."""

from collections.abc import Iterable, Sequence
from html import escape

from headrace.errors import printable

MOST_ROWS = 100
"""The most rows of a table; further rows are counted."""


def html_table(
    caption: str, rows: Iterable[Sequence[object]], head: Sequence[str] = (), numbers: int = 0
) -> str:
    """A small HTML table, which Jupyter shows in place of a repr.

    Args:
        caption: A line above the table.
        rows: Rows of cells, which are escaped, so that no cell can contain HTML.
        head: The headings of the columns; none by default.
        numbers: The first column whose cells are aligned to the right; 0 for none.

    Example:

    ```python
    html_table("Two animals", [("ant", 6), ("bee", 6)], ("name", "legs"), numbers=1)
    ```
    """
    listed = list(rows)
    lines = ["<table>"]
    if caption:
        lines.append(f"<caption style='text-align: left'>{_shown(caption)}</caption>")
    if head:
        lines.append(f"<thead>{_row(head, numbers, 'th')}</thead>")
    lines.append("<tbody>")
    lines += [_row(row, numbers, "td") for row in listed[:MOST_ROWS]]
    if len(listed) > MOST_ROWS:
        lines.append(_row([f"and {len(listed) - MOST_ROWS:,} more"], numbers, "td"))
    return "\n".join([*lines, "</tbody>", "</table>"])


def _row(cells: Sequence[object], numbers: int, tag: str) -> str:
    made = []
    for place, cell in enumerate(cells):
        side = "right" if numbers and place >= numbers else "left"
        style = f"text-align: {side}; white-space: pre-wrap"
        made.append(f"<{tag} style='{style}'>{_shown(str(cell))}</{tag}>")
    return f"<tr>{''.join(made)}</tr>"


def _shown(text: str) -> str:
    return escape(printable(text))
