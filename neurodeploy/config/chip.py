"""``[chip]`` of a ``target.toml``: what a chip, or the tool that reads the file for it, can hold, as data.

Sizes of cores stand in the hardware profile; here stands what a profile cannot say: neurons, values of weights,
geometry of layers, wiring. Every table names its source; a key that is left out is not checked.
:mod:`neurodeploy.passes.chip_rules` checks a network against it, in the same way for every chip.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Sourced(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(min_length=8, description="the document, or the file of the tool, that says so")


class NeuronRules(_Sourced):
    """``[chip.neuron]``."""

    leak: Literal["none", "additive", "multiplicative"] = Field(
        "multiplicative", description="additive: a constant per step, whatever the membrane is"
    )
    resets: tuple[Literal["to", "subtract"], ...] | None = None
    spikes: tuple[Literal["single", "multi"], ...] | None = Field(None, description="spikes per neuron and step")
    compares: tuple[Literal["ge", "gt"], ...] | None = None
    v_reset_zero: bool = Field(False, description="a reset to a value is a reset to zero")
    one_threshold: bool = Field(False, description="one threshold for a layer")
    one_reset: bool = Field(False, description="one way to reset for the network")
    bias: Literal["any", "clock", "linear"] = Field(
        "any", description="clock: added by a clock that the host sets; linear: those of convolutions are misread"
    )


class WeightRules(_Sourced):
    """``[chip.weights]``."""

    bits: int = Field(ge=1, le=32, description="bits of a stored weight, with its sign")
    distinct: int | None = Field(None, ge=1, description="different weights (beside 0) of one neuron")


class LayerRules(_Sourced):
    """``[chip.layers]``: geometry. A linear layer counts as the convolution over its whole input map."""

    max_input: int | None = Field(None, description="height and width that a layer reads")
    max_output: int | None = Field(None, description="height and width of its neurons")
    max_channels: int | None = None
    max_kernel: int | None = None
    square_kernel: bool = False
    strides: tuple[int, ...] | None = None
    square_stride: bool = False
    max_padding: int | None = None
    dilation: bool = True
    groups: bool = True
    tiled_pool: bool = Field(False, description="pools are square, their stride is their window, without padding")
    pools: tuple[int, ...] | None = Field(None, description="windows of pools, those in a row multiplied")


class WiringRules(_Sourced):
    """``[chip.wiring]``."""

    synapses_per_population: int | None = Field(None, description="synapses whose sums one population adds")
    sources_per_synapse: int | None = Field(None, description="populations whose spikes are added before a synapse")
    fan_out: int | None = Field(None, description="populations that one population reaches")
    recurrent: bool = True


class CoreMemories(_Sourced):
    """``[chip.cores]``: one layer per core, with words of memory for kernels, neurons and biases in each."""

    kernel: tuple[int, ...]
    neuron: tuple[int, ...]
    bias: tuple[int, ...]


class ChipRules(BaseModel):
    """``[chip]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    values: Literal["binary", "integer"] = Field(
        "binary", description="what may reach a synapse: 0 and 1, or several spikes at once (one event each)"
    )
    neuron: NeuronRules | None = None
    weights: WeightRules | None = None
    layers: LayerRules | None = None
    wiring: WiringRules | None = None
    cores: CoreMemories | None = None
