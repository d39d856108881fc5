"""patchgen: the Live Update series for QEMU, generated for the tree in hand."""

__version__ = "0.1.0"
