"""Kinds of judges."""
