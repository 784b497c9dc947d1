"""Brings the recordings of a vehicle to Argus: resumes after any cut, and deletes only what the server has proved to hold."""

__version__ = "0.1.0"
