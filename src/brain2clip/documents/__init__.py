"""Documents that are made from the code: the reference of settings, and what each of them re-runs."""
