"""Torture: the real server is killed, starved and overloaded; what all sides saw is then compared.

`python -m tests.torture [--short] [--only NAME] [--out FILE]`; docs/torture.md says what it proves.
"""
