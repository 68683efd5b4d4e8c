"""Numbered, frozen SQL scripts: `NNNN_name.sql`, applied in order and each once."""
