"""Documents that are generated from the code: the reference of settings, and what a change of each setting reruns."""
