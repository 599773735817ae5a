"""FINN's node names, short enough for a column of a table or a plot."""

SHORT = {"StreamingDataWidthConverter_rtl_": "width converter ", "ConvolutionInputGenerator_rtl_": "window "}


def shown_name(name: str) -> str:
    """A node's name for a table of 80 columns, of which FINN's own would take half."""
    for long, short in SHORT.items():
        name = name.replace(long, short)
    return name
