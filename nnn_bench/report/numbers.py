"""Numbers as people read them: the same everywhere, on pages, in figures' texts and at the terminal."""

from __future__ import annotations

import math

NONE = "–"
_NARROW_SPACE = "\u202f"
_MINUS = "\u2212"
_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def fixed(value: float | None, places: int = 3) -> str:
    """`2.413`; a dash where there is no number."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.{places}f}".replace("-", _MINUS)


def signed(value: float | None, places: int = 3) -> str:
    """`+0.120`, `−0.004`, and `0.000` for what rounds to nothing."""
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{value:+.{places}f}"
    return text[1:] if float(text) == 0 else text.replace("-", _MINUS)


def small(value: float | None) -> str:
    """A change that may be tiny: `+0.120`, and `+2.00 × 10⁻⁷` where three places would show nothing."""
    if value is None or not math.isfinite(value) or abs(value) >= 1e-3:
        return signed(value)
    return f"+{power(value)}" if value > 0 else power(value)


def interval(ends: list[float] | tuple[float, float] | None, places: int = 3) -> str:
    """`[2.40, 2.43]`, empty where there is none."""
    return "" if ends is None else f"[{fixed(ends[0], places)}, {fixed(ends[1], places)}]"


def signed_interval(ends: list[float] | tuple[float, float] | None, places: int = 3) -> str:
    return "" if ends is None else f"[{signed(ends[0], places)}, {signed(ends[1], places)}]"


def whole(value: float | None) -> str:
    """`1 507 328`, grouped by narrow spaces that never break."""
    return NONE if value is None else f"{round(value):,}".replace(",", _NARROW_SPACE)


def power(value: float | None) -> str:
    """`1.99 × 10¹²`."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    mantissa = value / 10**exponent
    if f"{abs(mantissa):.2f}" == "10.00":
        mantissa, exponent = mantissa / 10, exponent + 1
    return f"{mantissa:.2f}{_NARROW_SPACE}×{_NARROW_SPACE}10{str(exponent).translate(_SUPERSCRIPT)}".replace(
        "-", _MINUS
    )


def percent(share: float, places: int = 2) -> str:
    return f"{100 * share:.{places}f}{_NARROW_SPACE}%".replace("-", _MINUS)


def memory(count: float | None) -> str:
    """Bytes as MiB, for a column that names the unit."""
    return NONE if count is None else f"{count / 2**20:.1f}"


def probability(p: float | None) -> str:
    """`0.012`, `< 0.001`."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def scaled(value: float) -> str:
    """Short label of an axis: `500 k`, `1.5 M`, `2 T`."""
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{_NARROW_SPACE}{letter}"
    return f"{value:g}"
