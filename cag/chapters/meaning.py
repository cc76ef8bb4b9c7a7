"""What a difference or a published number may be told as: an interval that holds zero tells nothing."""

from __future__ import annotations

import pandas as pd

from cag.metrics.intervals import Estimate, interval_text


def told(difference: Estimate, more: str, less: str, unclear: str) -> str:
    """The sentence that a difference allows: ``more`` above zero, ``less`` below, ``unclear`` where it holds zero."""
    if pd.isna(difference.low) or difference.low <= 0 <= difference.high:
        return unclear
    return more if difference.value > 0 else less


def telling_digits(difference: Estimate) -> str:
    """A difference by two to four digits: as many as show on which side of zero its limits lie."""
    limits = [limit for limit in (difference.low, difference.high) if abs(limit) > 5e-5]
    return interval_text(difference, next(digits for digits in (2, 3, 4) if all(round(x, digits) for x in limits)))


def beside_published(own: Estimate, published: float, digits: int = 2) -> str:
    """Where a published number lies against this study's interval."""
    number = f"the published {published:.{digits}f}"
    if own.low <= published <= own.high:
        return f"{number} lies inside the interval"
    return f"{number} lies {'above' if published > own.high else 'below'} the interval"
