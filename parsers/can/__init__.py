"""CAN logs: readers to frame blocks, databases, decoding."""
