"""Candidate frame selection."""
