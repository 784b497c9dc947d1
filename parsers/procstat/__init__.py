"""Pages of /proc/stat that a logger wrote one behind the other."""
