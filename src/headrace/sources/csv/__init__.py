"""CSV files: rows are counted and cut into ranges once, and ranges are parsed when needed.

`dialect` says how the text is written, `files` looks at the start of a file, `ranges` finds the
rows, and `infer` the types of the columns. `parse` parses text; `table` puts all that together.
"""
