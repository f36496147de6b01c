"""The colours of the clusters."""

from __future__ import annotations

import math

__all__ = ["cluster_colours", "is_light"]


def cluster_colours(n: int = 60) -> list[str]:
    """Return `n` colours: twelve chosen by eye, then hues a golden angle apart in four lightnesses."""
    colours = ["#3d6fb4", "#e07b39", "#3f9a62", "#c8475a", "#8462b5", "#17a0a8",
               "#b7982a", "#d16fae", "#7a5a43", "#6ba534", "#5b7fd6", "#a33b7d"]  # fmt: skip
    for index in range(len(colours), n):
        lightness = (0.48, 0.70, 0.58, 0.78)[index % 4]
        hue = math.radians((index * 137.508) % 360.0)
        colours.append(_oklch(lightness, 0.115, hue))
    return colours[:n]


def is_light(colour: str) -> bool:
    """Say whether black is easier to read on a colour, `#rrggbb`, than white: by the contrast of WCAG 2.

    Examples
    --------
    >>> is_light("#ffffff"), is_light("#b0b0ff"), is_light("#3d6fb4"), is_light("#000000")
    (True, True, False, False)
    """
    encoded = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in encoded]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (luminance + 0.05) ** 2 > 1.05 * 0.05


def _oklch(lightness: float, chroma: float, hue: float) -> str:
    """Return the sRGB colour of an OKLCH colour (Ottosson, 2020)."""
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    cone = (
        (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3,
        (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3,
        (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3,
    )
    matrix = (
        (4.0767416621, -3.3077115913, 0.2309699292),
        (-1.2684380046, 2.6097574011, -0.3413193965),
        (-0.0041960863, -0.7034186147, 1.7076147010),
    )
    channels = []
    for row in matrix:
        linear = min(1.0, max(0.0, sum(x * y for x, y in zip(row, cone, strict=True))))
        encoded = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
        channels.append(round(255 * encoded))
    return "#{:02x}{:02x}{:02x}".format(*channels)
