"""Real angiograms: stenoses in frames of patients, with outlines drawn by readers."""
