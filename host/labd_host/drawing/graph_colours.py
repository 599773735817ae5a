"""Kinds of operations and the colours of a picture, light and dark, as one style sheet.

Every rule begins with the picture's own class, so that pictures can stand in a page that has other
styles. A viewer that knows no style sheet media shows the light colours.
"""

# kind -> (what the legend says, stripe and outline, fill; then both in the dark)
KINDS = {
    "edge": ("network's input, output", "#5b6470", "#eef0f3", "#9aa4b2", "#262b33"),
    "quantise": ("quantiser, thresholds", "#7b3fbf", "#f5eefc", "#b98af0", "#2e2440"),
    "product": ("matrix product, convolution", "#1f63c4", "#eaf2fd", "#74a9f7", "#1c2b44"),
    "scale": ("scale, bias, batch norm", "#a86400", "#fdf4e3", "#e5ab52", "#3a2d16"),
    "move": ("data moved or reshaped", "#0b7a75", "#e6f5f4", "#52c2bb", "#173331"),
    "pool": ("pooling", "#0f7a3d", "#e8f6ec", "#63c98a", "#183424"),
    "class": ("best class", "#b3246b", "#fcebf3", "#ee84b8", "#3d1d2d"),
    "other": ("other", "#5b6470", "#f4f5f6", "#9aa4b2", "#2a2e35"),
}

# name -> light, dark
INK = {
    "paper": ("#ffffff", "#15181d"),
    "text": ("#1c2129", "#e8ebf0"),
    "quiet": ("#5a6472", "#a3adba"),
    "wire": ("#6b7583", "#8b96a5"),
    "added": ("#12733a", "#5fd08c"),
    "changed": ("#9a5b00", "#f0b454"),
    "gone": ("#b3261e", "#ff8a80"),
    "frame": ("#1f63c4", "#74a9f7"),
    "badge": ("#ffffff", "#15181d"),
}

MONOSPACE = 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, "Liberation Mono", monospace'

_RULES = f"""
.labd-graph {{ background: var(--paper); font-family: {MONOSPACE}; }}
.labd-graph text {{ fill: var(--text); font-size: 11px; white-space: pre; }}
.labd-graph .heading {{ font-size: 15px; font-weight: 700; }}
.labd-graph .op {{ font-size: 13px; font-weight: 700; }}
.labd-graph .quiet {{ fill: var(--quiet); }}
.labd-graph .paper {{ fill: var(--paper); }}
.labd-graph .wire {{ fill: none; stroke: var(--wire); stroke-width: 1.5; }}
.labd-graph .arrow {{ fill: var(--wire); }}
.labd-graph .box {{ stroke: var(--line); fill: var(--fill); stroke-width: 1; }}
.labd-graph .stripe {{ fill: var(--line); }}
.labd-graph .added .box {{ stroke: var(--added); stroke-width: 2.5; }}
.labd-graph .changed .box {{ stroke: var(--changed); stroke-width: 2.5; }}
.labd-graph .added .badge {{ fill: var(--added); }}
.labd-graph .changed .badge {{ fill: var(--changed); }}
.labd-graph .badge-text {{ fill: var(--badge); font-weight: 700; }}
.labd-graph .change {{ fill: var(--changed); }}
.labd-graph .added .change {{ fill: var(--added); }}
.labd-graph .proven {{ fill: var(--added); font-weight: 700; }}
.labd-graph .slowest {{ fill: var(--gone); font-weight: 700; }}
.labd-graph .gone .box {{ stroke: var(--gone); stroke-dasharray: 4 3; stroke-width: 1.2; }}
.labd-graph .gone .op {{ text-decoration: line-through; font-size: 12px; }}
.labd-graph .gone-heading {{ fill: var(--gone); font-weight: 700; }}
.labd-graph .frame {{ fill: none; stroke: var(--frame); stroke-width: 2; stroke-dasharray: 8 5; }}
.labd-graph .frame-text {{ fill: var(--frame); font-weight: 700; }}
""".strip()


def style_sheet() -> str:
    """The style sheet of every picture."""
    light = [f"--{name}: {pair[0]};" for name, pair in INK.items()]
    dark = [f"--{name}: {pair[1]};" for name, pair in INK.items()]
    kinds = [f".labd-graph .k-{kind} {{ --line: {k[1]}; --fill: {k[2]}; }}" for kind, k in KINDS.items()]
    kinds_dark = [f".labd-graph .k-{kind} {{ --line: {k[3]}; --fill: {k[4]}; }}" for kind, k in KINDS.items()]
    return "\n".join(
        [
            f".labd-graph {{ color-scheme: light dark; {' '.join(light)} }}",
            *kinds,
            "@media (prefers-color-scheme: dark) {",
            f".labd-graph {{ {' '.join(dark)} }}",
            *kinds_dark,
            "}",
            _RULES,
        ]
    )
