"""The admin: pages, actions, permissions."""
