"""From executed notebooks to the book: runner, exhibits, figures, reports, publication."""
