"""Advice on a file."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """One thing that a person should know about a file, or fix in it.

    Attributes:
        kind: A name for programs, such as "small-chunks".
        columns: The columns or datasets that it is about.
        text: For a person: what it costs, in figures, and what would be better.
        language: Of the command: "shell", "python", or "" where there is none.
        command: The command that fixes it; advice with equal commands is fixed by running it once.
    """

    kind: str
    columns: tuple[str, ...]
    text: str
    language: str = ""
    command: str = ""
