"""Objectives, the training loop, selection."""
