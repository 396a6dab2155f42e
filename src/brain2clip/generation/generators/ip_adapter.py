"""Not written yet."""


class Generator:
    """Not written yet."""
