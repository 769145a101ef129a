"""Runs over question sets, judges of their answers, and figures that name their counts.

Knows nothing of how an answer is made; that is the pipeline's.
"""
