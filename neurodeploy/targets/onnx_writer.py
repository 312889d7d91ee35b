"""One ONNX graph while it is written: operators, constants, and names that stay unique.

Every operator bears the name of its (first) output, so that a value and what makes it are found under one name in
Netron. Names of constants have a dot (``conv1.weight``), names of values a slash (``lif1/t0/spikes``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Opset 17 and IR 8: read by ONNX Runtime 1.12 (2022) and everything newer.
OPSET, IR_VERSION = 17, 8

Dim = int | str


class OnnxWriter:
    """Collects operators in order of execution; ``reserved`` are the names of the graph's inputs and outputs."""

    def __init__(self, reserved: Iterable[str]) -> None:
        self.operators: list[Any] = []
        self.initializers: list[Any] = []
        self.shapes: list[Any] = []
        self._taken = set(reserved)
        self._constants: dict[str, list[tuple[np.ndarray, str]]] = {}

    def unique(self, name: str) -> str:
        """``name``, or with a number behind it where that is taken."""
        found, count = name, 1
        while found in self._taken:
            count += 1
            found = f"{name}~{count}"
        self._taken.add(found)
        return found

    def constant(self, name: str, array: Any, dtype: Any = np.float32) -> str:
        """The name of a constant tensor; the same array under the same name is stored once."""
        from onnx import numpy_helper

        array = np.ascontiguousarray(np.asarray(array).astype(dtype)).reshape(np.shape(array))
        for known, found in self._constants.setdefault(name, []):
            if known.dtype == array.dtype and known.shape == array.shape and np.array_equal(known, array):
                return found
        found = self.unique(name)
        self._constants[name].append((array, found))
        self.initializers.append(numpy_helper.from_array(array, found))
        return found

    def op(
        self,
        kind: str,
        inputs: Sequence[str],
        name: str,
        dims: Sequence[Dim] | None = None,
        doc: str = "",
        **attrs: Any,
    ) -> str:
        """Add an operator with one output; its name. ``dims`` is the shape of a float32 output, for readers."""
        return self._add(kind, inputs, [self.unique(name)], dims, doc, attrs)[0]

    def split(self, value: str, names: Sequence[str], dims: Sequence[Dim]) -> list[str]:
        """``value`` in equal pieces along axis 0."""
        return self._add("Split", [value], [self.unique(name) for name in names], dims, "", {"axis": 0})

    def border(self, kind: str, inputs: Sequence[str], name: str, **attrs: Any) -> None:
        """An operator whose value is an output of the graph, under its reserved name."""
        self._add(kind, inputs, [name], None, "", attrs)

    def rename(self, value: str, name: str) -> None:
        """Give ``value`` the reserved name of an output of the graph."""
        self.border("Identity", [value], name)

    def _add(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: list[str],
        dims: Sequence[Dim] | None,
        doc: str,
        attrs: dict[str, Any],
    ) -> list[str]:
        from onnx import TensorProto, helper

        self.operators.append(helper.make_node(kind, inputs, outputs, name=outputs[0], doc_string=doc, **attrs))
        if dims is not None:
            self.shapes += [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name in outputs]
        return outputs

    def model(
        self,
        name: str,
        inputs: Sequence[tuple[str, Sequence[Dim]]],
        outputs: Sequence[tuple[str, Sequence[Dim]]],
        doc: str,
        properties: dict[str, str],
    ) -> Any:
        """The ``ModelProto``; ``inputs`` and ``outputs`` are name and shape, all float32."""
        from onnx import TensorProto, helper

        import neurodeploy

        def border(values: Sequence[tuple[str, Sequence[Dim]]]) -> list[Any]:
            return [helper.make_tensor_value_info(value, TensorProto.FLOAT, dims) for value, dims in values]

        graph = helper.make_graph(
            self.operators,
            name,
            border(inputs),
            border(outputs),
            initializer=self.initializers,
            doc_string=doc,
            value_info=self.shapes,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="neurodeploy",
            producer_version=neurodeploy.__version__,
            doc_string=doc,
        )
        helper.set_model_props(model, properties)
        return model


@dataclass(frozen=True)
class Site:
    """Where one node's operators go.

    Attributes:
        writer: The graph.
        name: The node; its constants are ``<name>.<what>``, shared by all its steps.
        label: Begins the names of its values: the node's name, or that of one step.
        dims: Shape of what it puts out.
    """

    writer: OnnxWriter
    name: str
    label: str
    dims: Sequence[Dim]

    def constant(self, what: str, array: Any, dtype: Any = np.float32) -> str:
        """A constant of the node."""
        return self.writer.constant(f"{self.name}.{what}", array, dtype)

    def op(self, kind: str, inputs: Sequence[str], what: str, **attrs: Any) -> str:
        """An operator on the way: its value is ``<label>/<what>``."""
        return self.writer.op(kind, inputs, f"{self.label}/{what}", **attrs)

    def result(self, kind: str, inputs: Sequence[str], what: str = "", doc: str = "", **attrs: Any) -> str:
        """The operator whose value leaves the node: ``<label>``, or ``<label>/<what>``."""
        name = f"{self.label}/{what}" if what else self.label
        return self.writer.op(kind, inputs, name, self.dims, doc, **attrs)
