"""Draws the chart of a measurement as SVG: what the micro workloads and the programs cost under each tracer."""

import html

from report import PLAIN, TRACERS, Figures, median

WIDTH, LEFT, BAR, STEP, HEAD = 940, 420, 16, 24, 40
OURS, OTHERS = "#c2410c", "#94a3b8"


def panel(y, title, bars, digits):
    """Returns (SVG, its height). bars: (tracer, value)."""
    maximum = max([value for _, value in bars], default=1)
    lines = [f'<text x="16" y="{y + 24}" font-weight="bold">{html.escape(title)}</text>']
    for k, (tracer, value) in enumerate(bars):
        top = y + HEAD + k * STEP
        width = max(1, value / maximum * (WIDTH - LEFT - 80))
        label = html.escape(TRACERS[tracer].replace("*", "").replace("`", ""))
        lines.append(f'<text x="{LEFT - 10}" y="{top + 13}" text-anchor="end">{label}</text>'
                     f'<rect x="{LEFT}" y="{top}" width="{width:.1f}" height="{BAR}" '
                     f'fill="{OURS if tracer.startswith("rec") else OTHERS}"/>'
                     f'<text x="{LEFT + width + 6:.1f}" y="{top + 13}">{value:.{digits}f}</text>')
    return "\n".join(lines), HEAD + len(bars) * STEP + 12


def draw(data):
    """Returns the SVG: a panel for the micro workloads and one for the 14 programs. Tracers that are too slow for the
    scale, or record nothing, are in the tables only."""
    figures = Figures(data, median)

    def bars(figure, without):
        values = [(tracer, figure(tracer)) for tracer in TRACERS
                  if tracer not in without and not tracer.endswith("excluded")]
        return [(tracer, value) for tracer, value in values if value is not None]

    first, height = panel(0, f"CPython {data['python']}: ns per Python event, geometric mean of the micro workloads",
                          bars(figures.micro, (PLAIN, "original")), 1)
    second, more = panel(height, "Slowdown of 14 pyperformance programs, geometric mean", bars(figures.fourteen, ()), 2)
    height += more
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
            f'font-size="13">\n<rect width="{WIDTH}" height="{height}" fill="white"/>\n{first}\n{second}\n</svg>\n')
