"""Kinds of studies, one module each; what they are built from is in :mod:`brain2clip.readers`."""
