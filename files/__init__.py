"""Files: uploads in flight, stored objects, and how one file is parsed."""
