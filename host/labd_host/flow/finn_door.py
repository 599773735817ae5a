"""The door to FINN: the only module that imports finn or qonnx.

`Finn` loads, changes, runs and saves graphs; everybody else sees `graph.Graph`, `graph.Trace` and
an opaque `Model`. What FINN prints goes to a text that the caller may keep, never to the terminal;
what it raises (often a bare Exception) becomes a `StageFailed` that names the step.

Source: finn-plus 1.6.1. `finn.builder` is never imported (it needs Vivado to import). LayerNorm's
module imports torch, which this environment does not have, to execute LayerNorm nodes; an empty
stand-in is lent to that one import and taken away again.
"""

import contextlib
import importlib
import importlib.util
import io
import math
import os
import random
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from labd_host.dataflow.generations import KEYS
from labd_host.exports import load_onnx
from labd_host.flow.stages import Step
from labd_host.proof.plain_graph import Graph, GraphTrace, Node, Values
from labd_host.rewrites.for_finn import rewrite_for_finn
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.errors import ArtifactError, IllegalFolding, LabdError, SetupError, StageFailed, unknown_name

Model = Any  # qonnx.core.modelwrapper.ModelWrapper, not looked into outside this module
Attribute = int | str | list[int]

PACKAGES = ("finn-plus", "qonnx", "onnx", "onnxruntime", "numpy")  # what decides on a result
_TORCH = ("torch", "torch.nn", "torch.nn.functional")
_HARDWARE = "finn.custom_op.fpgadataflow"
_RESOURCES = {"LUT": "LUT", "BRAM18": "BRAM_18K", "URAM": "URAM", "DSP": "DSP"}  # ours -> FINN's
_CONTAINER = "StreamingDataflowPartition"


class Finn:
    """FINN, for as long as one network is compiled.

    Use as a context manager: FINN wants a build folder of its own, which is removed at the end.

    Args:
        at_once: Import it now, not when the first model is taken in; a compile whose stages are all finished
            takes in none.

    Attributes:
        chatter: Everything FINN, qonnx and their libraries printed, logged or warned about so far.
    """

    def __init__(self, *, at_once: bool = True) -> None:
        self._at_once = at_once
        self._talk = io.StringIO()
        self._stack = contextlib.ExitStack()

    @property
    def chatter(self) -> str:
        """What was printed so far."""
        return self._talk.getvalue()

    def __enter__(self) -> "Finn":
        with contextlib.ExitStack() as opened:
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="labd-finn-"))
            opened.callback(_restore_environment, dict(os.environ))
            os.environ["FINN_BUILD_DIR"] = folder
            if self._at_once:
                self._import()
            self._stack = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def load(self, path: Path) -> Model:
        """The model in *path*.

        Raises:
            ArtifactError: no such file, too large, or no ONNX model.
        """
        proto = load_onnx(path)
        if not proto.graph.input:
            raise ArtifactError(f"{path} has no input", fix="export it again: labd train")
        return self.take(proto)

    def take(self, proto: Any) -> Model:
        """The model of an ``onnx.ModelProto``, which stays as it is."""
        self._import()
        from qonnx.core.modelwrapper import ModelWrapper

        with self._hushed("take the network in"):
            return ModelWrapper(proto, make_deepcopy=True)

    def _import(self) -> None:
        with self._hushed("import finn"):
            import_finn()

    def save(self, model: Model, path: Path) -> None:
        """Write *model*; the same model gives the same bytes. Paths inside it become file names."""
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.custom_op.registry import getCustomOp

        copied = ModelWrapper(model.model, make_deepcopy=True)
        for node in copied.graph.node:
            if node.op_type == _CONTAINER:
                container = getCustomOp(node)
                container.set_nodeattr("model", Path(container.get_nodeattr("model")).name)
        path.write_bytes(copied.model.SerializeToString(deterministic=True))

    def apply(self, model: Model, step: Step) -> Model:
        """*model* after *step*; *model* itself stays as it is.

        Raises:
            StageFailed: FINN gave up.
        """
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.transformation.base import Transformation

        module, _, name = step.name.partition(":")
        with self._hushed(name):
            change = getattr(importlib.import_module(module), name)
            if isinstance(change, type) and issubclass(change, Transformation):
                return model.transform(change(**step.arguments))
            return change(ModelWrapper(model.model, make_deepcopy=True), **step.arguments)

    def rewritten(self, model: Model) -> tuple[Model, list[str]]:
        """*model* in the spelling that FINN's steps know (`labd_host.rewrites`), and a line for each change.

        Raises:
            ArtifactError: it holds what has no such spelling.
        """
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.transformation.infer_shapes import InferShapes

        with self._hushed("rewrite the export"):
            copied = ModelWrapper(model.model, make_deepcopy=True)
            notes = rewrite_for_finn(copied.graph)
            return (copied.transform(InferShapes()) if notes else model), notes

    def graph(self, model: Model) -> Graph:
        """*model* as plain data."""
        with self._hushed("look into the graph"):
            return plain_graph(model)

    def run(self, model: Model, frames: Values) -> GraphTrace:
        """Execute *model* frame by frame with FINN's own executor.

        A layer that was specialised to HLS or RTL runs as the hardware layer it was made from, with
        its own weights, thresholds and folding: the generated C++ or Verilog itself can only be run
        with Vivado (cppsim, rtlsim).

        Args:
            frames: (N, ...), each frame of the model's input shape without its first axis.
        """
        from finn.core.onnx_exec import execute_onnx
        from qonnx.core.modelwrapper import ModelWrapper

        graph = self.graph(model)
        model = ModelWrapper(model.model, make_deepcopy=True)
        for node in model.graph.node:
            if node.domain in (_HARDWARE + ".hls", _HARDWARE + ".rtl"):
                node.domain = _HARDWARE
                node.op_type = node.op_type.removesuffix("_hls").removesuffix("_rtl")
        values: dict[str, list[Values]] = {}
        sums: dict[str, list[Values]] = {}
        dependent = set(graph.dependent)
        read = {name for node in graph.nodes if not dependent.isdisjoint(node.inputs) for name in node.inputs}
        made = read - dependent - graph.constants.keys() - {""}
        constants: dict[str, Values] = {}
        with self._hushed("execute the graph"):
            for frame in frames:
                feed = {graph.input: frame[np.newaxis].astype(np.float32)}
                context = execute_onnx(model, feed, return_full_exec_context=True)
                constants = {name: context[name] for name in made}
                for name in graph.dependent:
                    values.setdefault(name, []).append(context[name][0])
                for node in model.graph.node:
                    if node.op_type in ("MVAU", "VVAU"):
                        sums.setdefault(node.name, []).append(_sums(node, context, model.graph)[0])
        return GraphTrace(
            values={name: np.stack(value) for name, value in values.items()},
            sums={name: np.stack(value) for name, value in sums.items()},
            constants=constants,
        )

    def dataflow(self, model: Model) -> tuple[Model, str]:
        """The model inside *model*'s one dataflow partition, and the tensor that enters it.

        Raises:
            StageFailed: there is not exactly one.
        """
        from qonnx.custom_op.registry import getCustomOp

        containers = model.get_nodes_by_op_type(_CONTAINER)
        if len(containers) != 1:
            raise StageFailed(
                f"the network has {len(containers)} dataflow partitions, one is wanted",
                fix="some operation between the first and the last layer has no hardware layer; "
                "look at 5-hardware.onnx in the output folder",
                stage="partition",
            )
        return self.load(Path(getCustomOp(containers[0]).get_nodeattr("model"))), containers[0].input[0]

    def set_attributes(self, model: Model, settings: Mapping[str, Mapping[str, Attribute]]) -> None:
        """Set attributes of *model*'s nodes in place: node name -> attribute -> value.

        Raises:
            UnknownName: a node has no such attribute, or not with that value.
            IllegalFolding: FINN does not allow the value.
        """
        from qonnx.custom_op.registry import getCustomOp

        for node in model.graph.node:
            layer = getCustomOp(node)
            known = layer.get_nodeattr_types()
            for key, value in settings.get(node.name, {}).items():
                if key not in known:
                    raise unknown_name(f"setting of {node.name}", key, known.keys() & KEYS)
                allowed = known[key][3] if len(known[key]) > 3 else None
                if allowed is not None and value not in allowed:
                    raise unknown_name(f"{key} for {node.name}", str(value), map(str, allowed))
                try:
                    layer.set_nodeattr(key, value)
                except (ValueError, TypeError) as error:
                    raise IllegalFolding(
                        f"{key} of {node.name} cannot be {value!r}: {error}", fix="correct the folding file"
                    ) from error

    def edges(self, model: Model) -> tuple[dict[str, Any], dict[str, Any]]:
        """Input and output of a dataflow *model*: name, datatype, normal and folded shape, as FINN has them."""
        from qonnx.custom_op.registry import getCustomOp

        with self._hushed("read the shapes"):
            first, last = getCustomOp(model.graph.node[0]), getCustomOp(model.graph.node[-1])
            source, sink = model.graph.input[0].name, model.graph.output[0].name
            return tuple(
                {
                    "name": name,
                    "datatype": model.get_tensor_datatype(name).name,
                    "normal": tuple(int(axis) for axis in normal),
                    "folded": tuple(int(axis) for axis in folded),
                }
                for name, normal, folded in (
                    (source, first.get_normal_input_shape(), first.get_folded_input_shape()),
                    (sink, last.get_normal_output_shape(), last.get_folded_output_shape()),
                )
            )  # type: ignore[return-value]  # two

    def expected_cycles(self, model: Model) -> dict[str, int]:
        """FINN's own estimate: node name -> cycles a frame."""
        from finn.analysis.fpgadataflow.exp_cycles_per_layer import exp_cycles_per_layer

        with self._hushed("estimate the cycles"):
            return dict(model.analysis(exp_cycles_per_layer))

    def resources(self, model: Model) -> dict[str, dict[str, int]]:
        """FINN's own estimate of *model* on `PYNQ_Z2_PART`: node name -> LUT, BRAM18, URAM, DSP -> how many."""
        from finn.analysis.fpgadataflow.res_estimation import res_estimation

        with self._hushed("estimate the resources"):
            found = res_estimation(model, PYNQ_Z2_PART)
        return {
            name: {kind: math.ceil(uses[theirs]) for kind, theirs in _RESOURCES.items()}
            for name, uses in found.items()
        }

    def _note_warning(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any
    ) -> None:
        self._talk.write(warnings.formatwarning(message, category, Path(filename).name, lineno, ""))

    @contextlib.contextmanager
    def _hushed(self, doing: str) -> Iterator[None]:
        """Keep FINN's talk, make its random names repeatable, and turn what it raises into one error."""
        drawn = random.getstate()
        random.seed(doing)  # qonnx names new tensors with random letters; nothing else draws
        try:
            with (
                contextlib.redirect_stdout(self._talk),
                contextlib.redirect_stderr(self._talk),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("default")
                warnings.showwarning = self._note_warning  # type: ignore[assignment]  # of its variants, the one called
                yield
        except LabdError:
            raise
        except Exception as error:
            raise StageFailed(
                f"FINN gave up at {doing}: {type(error).__name__}: {error}",
                fix="is every layer one that FINN has hardware for? finn.log in the output folder has the rest",
                step=doing,
            ) from error
        finally:
            random.setstate(drawn)


def plain_graph(model: Model) -> Graph:
    """*model* as plain data, for steps that are functions of a model."""
    names = model.get_all_tensor_names()
    constants = {entry.name: model.get_initializer(entry.name) for entry in model.graph.initializer}
    inputs = [entry.name for entry in model.graph.input if entry.name not in constants]
    return Graph(
        nodes=tuple(_node(node) for node in model.graph.node),
        constants=constants,
        datatypes={name: model.get_tensor_datatype(name).name for name in names},
        shapes={name: tuple(model.get_tensor_shape(name) or ()) for name in names},
        input=inputs[0],
        output=model.graph.output[0].name,
    )


def tool_versions() -> dict[str, str]:
    """The versions that decide on a result, by distribution name."""
    return {name: metadata.version(name) for name in PACKAGES}


def divide_pixels(model: Model, by: float) -> Model:
    """Put ``pixel / by`` in front of *model* and declare its input UINT8.

    A model whose input is declared to be of integers takes the pixels as they are and is left alone.
    """
    return _with_front(model, [("Div", by)], "UINT8")


def feed_values(model: Model, datatype: str, scale: float, offset: float) -> Model:
    """Put ``value * scale + offset`` in front of *model* and declare its input *datatype*.

    A model whose input is declared to be of integers takes the values as they are and is left alone.
    """
    front = [("Mul", scale)] if scale != 1 else []
    return _with_front(model, [*front, *([("Add", offset)] if offset else [])], datatype)


def _with_front(model: Model, operations: list[tuple[str, float]], datatype: str) -> Model:
    from onnx import TensorProto, helper
    from qonnx.core.datatype import DataType
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.merge_onnx_models import MergeONNXModels

    source = model.graph.input[0].name
    if model.get_tensor_datatype(source).is_integer():
        return model
    if operations:
        shape = model.get_tensor_shape(source)
        names = ["pixels", *(f"fed_{place}" for place in range(len(operations)))]
        graph = helper.make_graph(
            [
                helper.make_node(op, [names[place], f"by_{place}"], [names[place + 1]])
                for place, (op, _) in enumerate(operations)
            ],
            "preprocessing",
            [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, shape)],
            [
                helper.make_tensor(f"by_{place}", TensorProto.FLOAT, [], [by])
                for place, (_, by) in enumerate(operations)
            ],
        )
        version = next(each.version for each in model.model.opset_import if each.domain in ("", "ai.onnx"))
        opsets = [helper.make_opsetid("", version)]
        model = model.transform(MergeONNXModels(ModelWrapper(helper.make_model(graph, opset_imports=opsets))))
    model.set_tensor_datatype(model.graph.input[0].name, DataType[datatype])
    return model


def _node(node: Any) -> Node:
    from onnx import helper
    from qonnx.custom_op.registry import getCustomOp, is_custom_op

    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    if is_custom_op(node.domain, node.op_type):
        layer = getCustomOp(node)
        for key, definition in layer.get_nodeattr_types().items():
            if key in attributes or not definition[1]:  # has a value, or is not required and has a default
                attributes[key] = layer.get_nodeattr(key)
    return Node(node.name, node.op_type, tuple(node.input), tuple(node.output), attributes)


def _sums(node: Any, context: Mapping[str, Values], graph: Any) -> Values:
    """What FINN computes for *node* of *graph* with its thresholds left out."""
    from onnx import NodeProto
    from qonnx.custom_op.registry import getCustomOp

    bare = NodeProto()
    bare.CopyFrom(node)
    layer = getCustomOp(bare)
    layer.set_nodeattr("noActivation", 1)
    private = {name: context[name] for name in (*node.input, *node.output)}
    layer.execute_node(private, graph)
    result: Values = private[node.output[0]]
    return result


def import_finn() -> None:
    """Import FINN, with settings that the variables FINN_... decide; FINN_BUILD_DIR must be set.

    Raises:
        SetupError: it cannot be imported.
    """
    try:
        _import_with_stand_in()
    except ImportError as error:
        raise SetupError(
            f"FINN cannot be imported: {error}", fix="make the environment again: make clean && make test"
        ) from error
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # it warns past Python's standard error


def _import_with_stand_in() -> None:
    lent = importlib.util.find_spec("torch") is None and "torch" not in sys.modules
    if lent:
        for name in _TORCH:
            sys.modules[name] = types.ModuleType(name)
        sys.modules["torch"].nn = sys.modules["torch.nn"]  # type: ignore[attr-defined]
        sys.modules["torch.nn"].functional = sys.modules["torch.nn.functional"]  # type: ignore[attr-defined]
    try:
        from finn.util.settings import initialize_dummy_settings

        initialize_dummy_settings()
        for name in ("", ".hls", ".rtl"):
            importlib.import_module(_HARDWARE + name)
    finally:
        if lent:
            for name in _TORCH:
                del sys.modules[name]


def _restore_environment(before: Mapping[str, str]) -> None:
    """FINN's settings write a handful of variables."""
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)
