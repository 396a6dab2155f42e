"""Not written yet."""


class Table:
    """Not written yet."""
