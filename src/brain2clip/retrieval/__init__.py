"""Similarity to ranks to one row per query; statistics."""
