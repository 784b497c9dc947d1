"""The HTTP side of vehicles: who is asking."""
