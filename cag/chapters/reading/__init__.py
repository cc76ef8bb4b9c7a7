"""Reading a study end to end."""
