"""Bugs that our fragments must not have: each a small edit of them that a scenario must notice."""
