"""What every net is made of, as the recipe chooses it: convolution, norm, neuron, classifier.

A net describes its wiring only; which neuron, which norm and whether a convolution has a bias is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from neurodeploy.config.recipe_sections import Net, Neuron, Norm
from neurodeploy.diagnostics import UsageError
from neurodeploy.nn.layers import AvgPool2d, Classifier, Conv2d, MaxPool2d, Pair, ReLU
from neurodeploy.nn.lif import LIF
from neurodeploy.nn.tdbn import TdBatchNorm


@dataclass(frozen=True)
class Parts:
    """The modules of one recipe.

    Attributes:
        net, neuron, norms: Tables of the recipe.
        repact: Whether the last neuron is RepAct's ReLU.
        timesteps: T.
        shape: ``(C, H, W)`` of one step of a sample.
        classes: Outputs of the classifier.
    """

    net: Net
    neuron: Neuron
    norms: Norm
    repact: bool
    timesteps: int
    shape: tuple[int, int, int]
    classes: int

    @property
    def bias(self) -> bool:
        """Whether what stands before a norm has a bias: only where there is no norm."""
        return self.norms.kind == "none"

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = False) -> Conv2d:
        """A convolution that keeps the size (before its stride); with a bias where asked for or where no norm is."""
        return Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias or self.bias)

    def norm(self, channels: int, *, residual_end: bool = False) -> nn.Module:
        """The norm before a neuron.

        ``batchnorm`` is Eq. 6-7 with gain 1 in the place of α·V_th: statistics over T, B, H and W. With T = 1 (an ANN)
        it is torch's BatchNorm2d but for the running variance, see :class:`~neurodeploy.nn.tdbn.TdBatchNorm`.

        Args:
            channels: C, or features N.
            residual_end: It ends in a residual add: α is the recipe's ``residual_alpha``.
        """
        if self.norms.kind == "none":
            return nn.Identity()
        if self.norms.kind == "batchnorm":
            return TdBatchNorm(channels, 1.0, 1.0)
        alpha = self.norms.residual_alpha if residual_end else self.norms.alpha
        return TdBatchNorm(channels, alpha, self.neuron.v_threshold)

    def unit(self) -> nn.Module:
        """A hidden neuron, or the ReLU of an ANN."""
        if self.neuron.kind == "relu":
            return ReLU()
        return LIF(self.neuron.tau, self.neuron.v_threshold, self.neuron.surrogate, self.neuron.detach_reset)

    def last_unit(self) -> nn.Module:
        """The neuron before the classifier; with RepAct a ReLU of the pre-activation of each step (EnOF-SNN Eq. 8)."""
        return ReLU() if self.repact else self.unit()

    def classifier(self, features: int) -> Classifier:
        """The classifier with the authors' initial weights N(0, 1/features²) and bias 0."""
        fc = Classifier(features, self.classes)
        nn.init.normal_(fc.weight, 0.0, 1.0 / features)
        nn.init.zeros_(fc.bias)
        return fc

    def pooled(self, size: Pair, pool: AvgPool2d | MaxPool2d, layer: str, multiple: int) -> Pair:
        """``(H, W)`` behind a pool; ND102 where it would leave out rows.

        Args:
            size: ``(H, W)`` before it.
            pool: The pool.
            layer: Its name.
            multiple: What the sides of a sample must be multiples of.
        """
        if pool.leaves_out(size):
            _, height, width = self.shape
            raise UsageError(
                "ND102",
                f"{self.net.name} does not take samples of {height}x{width}: pool `{layer}` would leave out rows "
                f"of its {size[0]}x{size[1]} map",
                where="net.name",
                fix=f"sides that are multiples of {multiple} (data.size, for events and image folders), or "
                "net.name = resnet20-slim, which takes any size",
            )
        return pool.output_size(size)
