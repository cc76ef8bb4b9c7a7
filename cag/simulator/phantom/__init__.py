"""The simulated cohort: coronary trees, lesions, motion, contrast and image formation, with exact ground truth."""
