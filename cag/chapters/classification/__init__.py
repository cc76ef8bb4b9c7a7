"""Stenosis classification."""
