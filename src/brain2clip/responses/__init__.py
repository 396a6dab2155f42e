"""Recording to array of brain responses with stimulus ids."""
