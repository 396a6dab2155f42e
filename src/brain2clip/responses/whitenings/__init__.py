"""Kinds of whitening, one module each; what they share is in :mod:`brain2clip.responses.whitening`."""
