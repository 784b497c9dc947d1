"""The HTTP side of batches: one view, one call, one response."""
