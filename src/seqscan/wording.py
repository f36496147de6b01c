"""Numbers and texts as readers see them."""

from __future__ import annotations

import math
from numbers import Integral, Real

__all__ = ["number", "percent", "plural", "shortened", "thousandths"]


def number(value: object) -> str:
    """Return a number with as many digits as a reader needs; text as it is; a dash for what is unknown."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return "–" if value is None else str(value)
    if not isinstance(value, Real):
        return str(value)
    amount = float(value)
    if not math.isfinite(amount):
        return "–"
    if amount == round(amount) and (isinstance(value, Integral) or abs(amount) >= 2):
        text = f"{round(amount):,}"
    elif amount and abs(amount) < 0.0005:
        text = f"{amount:.1e}"
    elif abs(amount) >= 1000:
        text = f"{amount:,.0f}"
    else:
        text = f"{amount:.1f}" if abs(amount) >= 100 else f"{thousandths(amount):.3f}"
    return text.replace("-", "−")


def thousandths(amount: float) -> float:
    """Round to three decimals, but what is below 1 never up to 1: that would say that nothing is left.

    >>> thousandths(0.9997), thousandths(1.0), thousandths(0.12345)
    (0.999, 1.0, 0.123)
    """
    return 0.999 if 0.999 < amount < 1 else round(amount, 3)


def percent(part: float, whole: float = 1.0) -> str:
    """Return a share in whole percent."""
    share = 100.0 * part / whole if whole else 0.0
    if 0 < share < 1:
        return "under 1 %"
    # "100 %" is said only when nothing is left.
    return f"{min(share, 99.0) if share < 100 else 100:.0f} %"


def plural(n: int, noun: str, many: str = "") -> str:
    """Return a count and what is counted.

    >>> plural(1, "protein"), plural(1200, "protein"), plural(0, "category", "categories")
    ('1 protein', '1,200 proteins', '0 categories')
    """
    return f"{n:,} {noun if n == 1 else many or noun + 's'}"


def shortened(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
