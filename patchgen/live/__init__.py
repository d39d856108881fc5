"""Guests, QEMU processes and the scenarios that are run on a built QEMU."""
