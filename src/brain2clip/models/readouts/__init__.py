"""Readouts, from the vectors of a picture to one; each module is a kind and defines ``Readout``."""
