"""Localization of stenoses."""
