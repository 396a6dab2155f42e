"""A loaded Python for all runs of these tests: of libraries alone, for each test has sources of its own."""

from __future__ import annotations

import functools

from brain2clip import preloaded as product

#: A process that nobody refers to would lose its standard input.
KEPT: list[object] = []


@functools.cache
def preloaded() -> dict[str, str]:
    """Environment variables with which the shells of jobs use one loaded Python, for as long as this process lives."""
    environment: dict[str, str] = {}
    server = product.start(None, environment)
    assert server is not None, "the loaded Python did not start"
    KEPT.append(server)
    return environment
