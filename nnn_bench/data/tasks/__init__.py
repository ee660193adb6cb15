"""Tasks made from a seed. Each is one file with `check(source)`, which refuses what cannot be made, and `make(source, folder)`,
which writes it there and returns the names of the files in the order in which they are read."""
