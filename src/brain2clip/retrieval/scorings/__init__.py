"""Scorings that use all queries of the test at once; the name of each is the end of a task's name.

A module has a class ``Scoring`` with ``scores(similarity, neighbours)``, from similarities [Q, G] to scores [Q, G].
"""
