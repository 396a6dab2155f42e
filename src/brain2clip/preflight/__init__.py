"""What is known of a configuration and its data before anything is computed."""
