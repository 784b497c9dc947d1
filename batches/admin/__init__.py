"""The admin of batches: list, page, actions, plot; importing it registers them."""

from batches.admin.batches import BatchAdmin

__all__ = ["BatchAdmin"]
