"""The checked cursor and the growable columns that every format core is built on."""
