"""Not written yet."""


class Judge:
    """Not written yet."""
