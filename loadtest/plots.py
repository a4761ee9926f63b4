"""Line charts as SVG text: no script, no font, no colour of their own but the page's variables."""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Final, NamedTuple

WIDTH: Final = 560
HEIGHT: Final = 260
LEFT, RIGHT, TOP, BOTTOM = 56, 28, 14, 38
COLOURS: Final = ("a", "b", "c", "d")


class Series(NamedTuple):
    name: str
    points: Sequence[tuple[float, float]]


class Axis(NamedTuple):
    """One direction: the span shown, where lines stand, and how a value becomes a place between 0 and 1."""

    ticks: list[tuple[float, str]]
    place: Callable[[float], float]


def number(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    if value >= 10_000:
        return f"{value / 1_000:g}k"
    return f"{value:,.0f}" if value >= 1_000 else f"{value:g}"


def linear(low: float, high: float, wanted: int = 5) -> Axis:
    """From 0 or `low` up to a round number; steps of 1, 2 or 5."""
    span = max(high - low, 1e-9)
    raw = span / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    top = math.ceil(high / step - 1e-9) * step
    count = round((top - low) / step)
    ticks = [(low + k * step, number(round(low + k * step, 9))) for k in range(count + 1)]
    return Axis(ticks, lambda value: (value - low) / max(top - low, 1e-9))


def logarithmic(low: float, high: float) -> Axis:
    """Powers of ten, with 2 and 5 between them when there is room."""
    bottom, top = math.floor(math.log10(max(low, 1e-3))), math.ceil(math.log10(max(high, 2e-3)))
    top = max(top, bottom + 1)
    factors = (1, 2, 5) if top - bottom <= 3 else (1,)
    marks = [10.0**power * factor for power in range(bottom, top + 1) for factor in factors]
    ticks = [(mark, number(mark)) for mark in marks if mark <= 10.0**top * 1.0001]
    return Axis(ticks, lambda value: (math.log10(max(value, 10.0**bottom)) - bottom) / (top - bottom))


def nines() -> Axis:
    """Shares as latency is read: each further nine gets as much room as the one before."""
    top = 4.0
    ticks = [(0.0, "0"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")]
    return Axis(ticks, lambda share: min(-math.log10(max(1.0 - share, 1e-9)), top) / top)


def chart(title: str, x_label: str, y_label: str, series: Sequence[Series], axes: tuple[Axis, Axis]) -> str:
    """One figure with its legend."""
    x_axis, y_axis = axes
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(value: float) -> str:
        return f"{LEFT + x_axis.place(value) * wide:.1f}"

    def y(value: float) -> str:
        return f"{TOP + (1 - min(y_axis.place(value), 1.02)) * high:.1f}"

    parts = []
    for value, text in y_axis.ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {y(value)}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 7}" y="{y(value)}" dy="4">{escape(text)}</text>')
    for value, text in x_axis.ticks:
        parts.append(f'<text class="tick mid" x="{x(value)}" y="{HEIGHT - BOTTOM + 17}">{escape(text)}</text>')
    parts.append(f'<text class="tick end" x="{WIDTH - RIGHT}" y="{HEIGHT - 5}">{escape(x_label)}</text>')
    legend = []
    for colour, one in zip(COLOURS, series, strict=False):
        if one.points:
            line = " ".join(f"{x(px)},{y(py)}" for px, py in one.points)
            parts.append(f'<polyline class="line {colour}" points="{line}"/>')
        legend.append(f'<span class="key"><i class="{colour}"></i>{escape(one.name)}</span>')
    label = escape(f"{title}: {', '.join(one.name for one in series)}")
    return (
        f'<figure><figcaption><b>{escape(title)}</b> <span class="unit">{escape(y_label)}</span>'
        f'<span class="legend">{"".join(legend)}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg></figure>'
    )


def over_time(title: str, unit: str, series: Sequence[Series]) -> str:
    """Seconds to the right, from zero upwards."""
    everything = [point for one in series for point in one.points] or [(0.0, 0.0)]
    axes = (linear(0, max(px for px, _ in everything), 6), linear(0, max(py for _, py in everything) * 1.05))
    return chart(title, "seconds", unit, series, axes)


def distribution(title: str, series: Sequence[Series]) -> str:
    """Milliseconds upwards (logarithmic) by the share of messages that were at least as fast."""
    values = [py for one in series for _, py in one.points if py > 0] or [1.0]
    return chart(title, "share of messages", "ms", series, (nines(), logarithmic(min(values), max(values))))
