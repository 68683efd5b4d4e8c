"""The Tertulia client for Python."""
