"""ASAM MDF 4: blocks, channels, conversions and the reader of records."""
