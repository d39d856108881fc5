"""One module per command: parses its options, calls the library, renders the record."""
