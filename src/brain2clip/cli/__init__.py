"""The command ``brain2clip``."""
