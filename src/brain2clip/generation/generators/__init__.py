"""Kinds of generators."""
