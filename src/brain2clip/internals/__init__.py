"""Uses of other libraries' internals: one module for each library, checked at start, with separate tests."""
