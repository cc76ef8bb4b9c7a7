"""Metrics and their intervals: functions of arrays and tables that know neither networks nor files.

Every metric exists in a form that takes many weightings of the rows at once, ``weights [b, n]``
to ``[b]``: a bootstrap resample of patients is such a weighting, so that 2,000 resamples are one
product of matrices instead of 2,000 calls.
"""
