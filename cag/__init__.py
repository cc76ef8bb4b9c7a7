"""Deep learning on coronary X-ray angiography: models, metrics and a simulated cohort."""
