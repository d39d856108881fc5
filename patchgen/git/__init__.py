"""git plumbing: objects, refs and fast-import, by subprocess."""
