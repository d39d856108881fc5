"""Guests of the project's own, as source."""
