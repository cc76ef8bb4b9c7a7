"""Figures of the study: axes in, axes out, drawn from tables alone."""
