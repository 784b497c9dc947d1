"""The demo fleet: recorded drives of vehicles that never were, and the client that uploads them."""
