"""Vehicles: who they are, the tokens they come with, their platform and its signal databases."""
