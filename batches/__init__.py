"""Batches: a recording session from its first byte to its report."""
