"""CSV files: rows are counted and cut into ranges once, and ranges are parsed when needed.

`dialect` says how the text is written, `ranges` finds the rows, `infer` finds the types of the
columns, and `table` holds all that about some files. `parse` parses text, `source` fills arrays.
"""
