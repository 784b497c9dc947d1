"""MCAP logs: records, chunks, and the topics in them."""
