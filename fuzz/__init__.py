"""Fuzzing of every parser: hostile bytes in, and what must hold whatever they are."""
