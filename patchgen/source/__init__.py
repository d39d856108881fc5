"""Where QEMU's sources come from, each ending in a git commit."""
