"""Prints a comparison as a table, for people."""

import unicodedata

from . import noise

MAX_ROWS = 30
MIN_NAME_COLUMNS = 12
OTHERS = ("self", "total", "calls", "mean", "p99")      # their differences are shown, too
UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "us"))


def text_of(comparison, columns):
    """Return the table. columns: of the terminal; longer names are cut; 0: any."""
    rows = [row for row in comparison.rows if row.figures[comparison.by].difference != 0]
    shown = rows[:MAX_ROWS]
    heads = heads_of(comparison)
    cells = [heads, *(cells_of(row, comparison) for row in shown)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    left = max(MIN_NAME_COLUMNS, columns - sum(widths) - 2 * len(widths)) if columns else 0
    names = ["function", *(cut(name_of(row), left) for row in shown)]
    lines = [head_of(comparison), ""]
    lines += ["  ".join([*(cell.rjust(width) for cell, width in zip(one, widths)), name])
              for one, name in zip(cells, names)] if shown else [f"no function differs in {comparison.by}"]
    if len(rows) > len(shown):
        lines.append(f"and {len(rows) - len(shown)} more functions that differ; --json has all")
    if any(row.exceeds_noise() for row in shown):
        lines += ["", "! exceeds the noise: that any function does by chance has a probability below 5 %"]
    return "\n".join([*lines, *([""] if comparison.notes() else []), *map(clean, comparison.notes()), ""])


def head_of(comparison):
    """Return the line above the table."""
    n = [len(side) for side in comparison.sides]
    whole = comparison.whole
    sides = [f"{format_value('self', value)}{f' (median of {many})' if many > 1 else ''}"
             for value, many in zip((whole.before, whole.after), n)]
    return f"all functions: {sides[0]} before, {sides[1]} after, {format_rise(whole)}"


def heads_of(comparison):
    of_noise = ["+- noise", ""] if comparison.has_noise else []
    return [f"{comparison.by} before", "after", "difference", *of_noise, "", *others(comparison)]


def others(comparison):
    return [metric for metric in OTHERS if metric != comparison.by]


def cells_of(row, comparison):
    """Return the cells of a line, without the name."""
    by, figure = comparison.by, row.figures[comparison.by]
    of_noise = [format_noise(row, by), "!" if row.exceeds_noise() else ""] if comparison.has_noise else []
    return [format_value(by, figure.before), format_value(by, figure.after), format_value(by, figure.difference, "+"),
            *of_noise, "new" if row.is_new else "gone" if row.is_gone else format_rise(figure),
            *(format_value(metric, row.figures[metric].difference, "+") for metric in others(comparison))]


def format_noise(row, metric):
    values = row.figures[metric].values
    if min(map(len, values)) < 2:
        return ""
    low, high = noise.interval(*values)
    return format_value(metric, (high - low) / 2)


def format_rise(figure):
    return "" if figure.rise is None else f"{figure.rise:+.1%}"


def format_value(metric, value, sign=""):
    """Return a time with three digits and a unit, or a number. sign: `+` for differences."""
    if value is None:
        return ""
    if metric == "calls":
        return f"{int(value) if value == int(value) else value:{sign}}"
    for scale, unit in UNITS:
        if abs(value) >= 0.9995 * scale:
            return f"{value / scale:{sign}.{digits_after(abs(value) / scale)}f}{unit}"
    return f"{round(value):{sign}}ns"


def digits_after(value):
    return 2 if value < 9.995 else 1 if value < 99.95 else 0


def name_of(row):
    """Return a function's name, and `:` and line if it has one."""
    several = f" ({row.n_functions} of this name)" if row.n_functions > 1 else f":{row.line}" if row.file else ""
    return clean(f"{'~' if row.is_estimated else ''}{row.name}{several}")


def clean(text):
    """Replace control characters: a capture must not control the terminal."""
    return "".join("?" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text)


def cut(name, columns):
    """Return a name in as many columns at most: a longer one loses its begin."""
    if not columns or columns_of(name) <= columns:
        return name
    while name and columns_of(name) > columns - 3:
        name = name[1:]
    return f"...{name}"


def columns_of(text):
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text)
