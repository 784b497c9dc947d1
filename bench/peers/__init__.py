"""The other side of the benchmarks: runs in an environment of its own (.venv-bench), imports nothing of Argus."""
