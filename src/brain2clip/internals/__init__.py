"""Where other libraries' internals are touched: one module per library, checked at start, tested by their own tests."""
