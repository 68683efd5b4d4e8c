"""Tests that finish in seconds."""
