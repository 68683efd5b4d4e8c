"""The ways in and out: each a pure codec and a thin I/O shell."""
