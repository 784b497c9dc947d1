"""The program that runs in the vehicle."""
