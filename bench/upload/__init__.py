"""Uploads beside nginx, a bare socket loop and another tus server, each server alone on one core."""
