"""One thing to know about a file, or to mend in it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """One thing to know about a file, or to mend in it.

    Attributes:
        kind: A name for programs, such as "small-chunks".
        columns: What it is about.
        text: For a person: what it costs, in figures, and what would be better.
        language: Of the command: "shell", "python", or "" where there is none.
        command: What mends it. Several may share one, which mends them together.
    """

    kind: str
    columns: tuple[str, ...]
    text: str
    language: str = ""
    command: str = ""
