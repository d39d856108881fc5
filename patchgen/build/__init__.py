"""Configures and compiles a QEMU tree, out of tree in the cache; data in ``qemu-ref/eras``."""
