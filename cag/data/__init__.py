"""Angiograms and their tables: DICOM, images, archives, manifests, cohorts, public sets, splits."""
