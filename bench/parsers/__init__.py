"""How fast the readers are, beside what others read the same files with; one module for each family of formats."""
