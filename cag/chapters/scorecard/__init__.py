"""Published numbers beside this study's."""
