"""The same promises, kept by every adapter of a port."""
