"""Parts of the results page (:mod:`brain2clip.reporting.page`)."""
