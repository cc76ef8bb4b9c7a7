"""The study's experiments: one module a notebook family, and the pre-training of the trunk."""
