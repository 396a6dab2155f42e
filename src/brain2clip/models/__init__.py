"""Encoders of brain responses, the prompted CLIP tower and its parts."""
