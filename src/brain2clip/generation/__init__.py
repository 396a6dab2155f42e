"""Pictures of what brains predict, and how they compare with what was seen; ``generators/``, ``judges/``."""
