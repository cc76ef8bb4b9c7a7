"""What redundancy training does."""
