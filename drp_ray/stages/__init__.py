"""The stages, one a file: each turns the rows of a part into the rows of a part, or regroups rows."""
