"""Pictures and pages: graph layout, SVG, markup, styles."""
