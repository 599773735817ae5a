"""Averages over a whole feature map, in the three ways an export writes them."""

from labd_host.proof.plain_graph import Graph, Node

AVERAGES = ("GlobalAveragePool", "AveragePool", "ReduceMean")
_MAP_AXES = [2, 3]  # height and width of an exported feature map


def averaged_map(graph: Graph, node: Node) -> tuple[int, int] | None:
    """Height and width of the map of which *node*, one of AVERAGES, gives the mean; None: not of a whole map."""
    shape = graph.shapes.get(node.inputs[0], ())
    if len(shape) != 4 or min(shape) < 1:
        return None
    if node.op == "ReduceMean":
        axes = node.attributes.get("axes")
        if axes is None and len(node.inputs) > 1:
            axes = graph.constants.get(node.inputs[1])
        whole = axes is not None and sorted(int(axis) % 4 for axis in axes) == _MAP_AXES
    elif node.op == "AveragePool":
        padded = any(node.attributes.get("pads", ())) or "SAME" in str(node.attributes.get("auto_pad", ""))
        whole = list(node.attributes["kernel_shape"]) == list(shape[2:]) and not padded
    else:
        whole = True
    return (shape[2], shape[3]) if whole else None


def averaged_pixels(graph: Graph, node: Node) -> int:
    """How many pixels the mean of *node* is of; admission saw that it is of a whole map."""
    height, width = averaged_map(graph, node) or (1, 1)
    return height * width
