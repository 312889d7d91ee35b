"""Any ANN as a teacher: an ONNX file, run by ONNX Runtime, its classifier read from the last Gemm.

The classifier's input, the feature, becomes an extra output of the graph. The file says nothing about how its own
input is scaled: the network must take what the recipe's dataset gives.

Shape legend: B batch, N classes, F features of the classifier's input.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from neurodeploy.diagnostics import UsageError
from neurodeploy.files import sha256
from neurodeploy.training.onnx_classifier import find_classifier, refused

if TYPE_CHECKING:
    import onnx


class OnnxTeacher:
    """``x (B, …) -> (logits (B, N), feature (B, F))``, on the CPU.

    A file whose batch axis is fixed to n is fed n samples at a time, the last piece filled up with its last sample:
    samples do not act on each other in an evaluated network (a norm in training mode is refused). With n = 1 that is
    slow; export with a dynamic batch axis where possible. Frames ``(B, T, C, H, W)`` are laid along the
    channels, ``(B, T·C, H, W)``, for a network that takes four axes.

    Attributes:
        weight_NF: The classifier's weight, float32.
        bias_N: Its bias.
        sha256: Of the file; where weights lie in files of their own beside it, of all digests together.
    """

    def __init__(self, path: Path) -> None:
        """Read a file. UsageError ND103 where it cannot be read or holds no classifier of this form."""
        self.path = path
        model, self.sha256 = _read(path)
        classifier = find_classifier(path, model.graph)
        self.weight_NF = torch.from_numpy(classifier.weight_NF)
        self.bias_N = torch.from_numpy(classifier.bias_N)
        initialized = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in initialized]
        if len(inputs) != 1:
            names = ", ".join(value.name for value in inputs)
            raise refused(path, f"it has {len(inputs)} inputs ({names})", "the image as its only input")
        self._input = inputs[0].name
        kind = inputs[0].type.tensor_type
        self._dims = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in kind.shape.dim]
        self._dtype = _float_type(path, kind.elem_type)
        self._outputs = [classifier.logits, classifier.feature]
        self._session = _session(path, model, self._outputs)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and feature of a batch, float32."""
        if x.dim() == 5 and len(self._dims) == 4:
            x = x.flatten(1, 2)
        self._refuse_other_shape(tuple(x.shape))
        samples = len(x)
        if samples == 0:
            return torch.zeros(0, len(self.bias_N)), torch.zeros(0, self.weight_NF.shape[1])
        values = x.detach().cpu().numpy().astype(self._dtype)
        size = (self._dims[0] if self._dims else 0) or samples
        pieces = []
        for start in range(0, samples, size):
            piece = values[start : start + size]
            filled = np.concatenate([piece, np.repeat(piece[-1:], size - len(piece), 0)])
            pieces.append([output[: len(piece)] for output in self._run(filled)])
        logits, feature = (np.concatenate(parts).astype(np.float32) for parts in zip(*pieces, strict=True))
        return torch.from_numpy(logits), torch.from_numpy(feature)

    def _run(self, values: np.ndarray) -> list[np.ndarray]:
        classes, features = self.weight_NF.shape
        wanted = [(len(values), classes), (len(values), features)]
        try:
            outputs: list[np.ndarray] = self._session.run(self._outputs, {self._input: values})
        except Exception as error:  # ONNX Runtime's exceptions have no base class but this
            raise refused(
                self.path,
                f"ONNX Runtime cannot run it on a batch of shape {values.shape}: {_first_line(error)}",
                "a batch axis that is dynamic throughout (no Reshape to a fixed batch)",
            ) from error
        if [output.shape for output in outputs] != wanted:
            shapes = " and ".join(str(output.shape) for output in outputs)
            raise refused(
                self.path,
                f"logits and feature have shapes {shapes} for a batch of {len(values)}",
                f"a classifier that takes {wanted[1]} and gives {wanted[0]}",
            )
        return outputs

    def _refuse_other_shape(self, shape: tuple[int, ...]) -> None:
        dims = self._dims
        fits = len(shape) == len(dims) and all(
            want in (0, have) for want, have in zip(dims[1:], shape[1:], strict=True)
        )
        if dims and not fits:
            takes = ", ".join(str(dim or "any") for dim in dims)
            raise UsageError(
                "ND102",
                f"the teacher takes ({takes}), the student's batch has shape {shape}",
                where=str(self.path),
                fix="take a teacher of the same data",
            )


def _read(path: Path) -> tuple[onnx.ModelProto, str]:
    """The model with all its weights in memory, and the digest."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
        beside = sorted(
            {
                entry.value
                for tensor in model.graph.initializer
                if tensor.data_location == onnx.TensorProto.EXTERNAL
                for entry in tensor.external_data
                if entry.key == "location"
            }
        )
        if beside:
            onnx.load_external_data_for_model(model, str(path.parent))
        digest = sha256(path)
        if beside:
            digests = [digest, *(sha256(path.parent / name) for name in beside)]
            digest = hashlib.sha256(" ".join(digests).encode()).hexdigest()
    except (OSError, DecodeError, ValueError, onnx.checker.ValidationError) as error:
        raise refused(path, f"it is no readable ONNX file: {_first_line(error)}", "a whole file") from error
    if not model.graph.node:
        raise refused(path, "it is no ONNX file, or holds an empty graph", "a whole file")
    return model, digest


def _session(path: Path, model: onnx.ModelProto, outputs: list[str]) -> Any:
    """An inference session on the CPU that gives ``outputs`` too."""
    import onnx
    import onnxruntime

    given = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in given)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what goes wrong is raised, and said by us
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no base class but this
        raise refused(path, f"ONNX Runtime cannot load it: {_first_line(error)}", "a whole, valid file") from error


def _float_type(path: Path, elem_type: int) -> np.dtype:
    from onnx import helper

    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))
    if dtype.kind != "f":
        raise refused(path, f"its input is of type {dtype}", "an input of floating-point numbers")
    return dtype


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
