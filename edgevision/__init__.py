"""Compile vision networks to self-contained shared objects for edge devices, and prove that they still compute the same."""

__version__ = "0.1.0"
