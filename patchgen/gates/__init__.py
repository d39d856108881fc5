"""What a mail must pass before it is written: one module per kind of check."""
