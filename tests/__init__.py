"""Tests of Tertulia."""
