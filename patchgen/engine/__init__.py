"""The pure core: (text, fragment, facts) -> edit or drift."""
