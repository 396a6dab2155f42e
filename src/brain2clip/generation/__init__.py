"""Pictures from predictions, and their comparison with the seen pictures; ``generators/``, ``judges/``."""
