"""Diagnosis: evidence in, findings out."""
