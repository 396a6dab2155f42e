"""Checks of a configuration and its data before anything is computed."""
