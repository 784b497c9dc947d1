"""Addresses of the batch API."""

urlpatterns: list = []
