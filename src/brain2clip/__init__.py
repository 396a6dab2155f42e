"""brain2clip: from raw brain recordings to tables that say how well seen pictures can be found again."""

__version__ = "0.2.0"
