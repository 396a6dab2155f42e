"""Kinds of studies, one module each with a class ``Study``; what they are built from is in :mod:`brain2clip.readers`."""
