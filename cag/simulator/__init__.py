"""The simulated cohort: anatomy, disease, flow and X-ray image, with exact ground truth."""
