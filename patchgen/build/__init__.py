"""Configure and compile a tree, guided by the data in qemu-ref."""
