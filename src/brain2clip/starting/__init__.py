"""A first configuration for data of one's own: what lies there, and a file that runs."""
