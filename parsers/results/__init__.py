"""The result of one decoded file: Parquet streams, a min/max overview and a summary, and how to read them back."""
