"""`python -m argus_uploader`."""

from argus_uploader.cli import run

if __name__ == "__main__":
    run()
