"""The cohort of a run."""
