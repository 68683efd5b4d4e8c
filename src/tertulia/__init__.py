"""Tertulia: the chat platform a business runs on its own servers."""

__version__ = "0.1.0"
