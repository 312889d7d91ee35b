"""The tables of a recipe, one class each: every key, its type, its default and what it means.

Defaults are those of the papers where they agree; where a paper leaves something open, the docstring says which reading
is the default. ``config/recipe.py`` puts the tables together and reads files.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A table of the recipe: frozen, unknown keys refused, no silent conversion ("3" is not 3)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


DatasetName = Literal[
    "digits", "mnist", "fashion-mnist", "cifar10", "cifar10-jpeg", "cifar100", "imagenet", "image-folder",
    "nmnist", "cifar10-dvs",
]  # fmt: skip


class Data(Section):
    """``[data]``: dataset, samples per step, augmentation of training samples.

    Attributes:
        name: Dataset; ``cifar10-jpeg`` is the lossy copy (JPEG quality 75) as an image folder.
        batch: Samples per optimizer step, over all processes together.
        augment: Of training samples. ``crop-flip``: pad by an eighth of the side, crop, flip. ``cifar10-policy``: that,
            AutoAugment's CIFAR-10 policy and Cutout of half the side, as in both papers. ``roll-flip``: flip and roll
            by up to 5 pixels, of events. ``resized-crop-flip``: random resized crop and flip, for ImageNet.
        folder: ``image-folder`` only: folder below the data root (or a path) that holds ``train/`` and ``test/`` or
            ``val/``, each with a folder per class.
        classes: ``image-folder`` only: number of classes.
        size: Height and width of a sample; 0 is the dataset's own. ``image-folder`` and event datasets only.
        frames: Frames that a recording of events is cut into; 0 is one per timestep.
        resize: Of events on a sensor larger than the sample. ``nearest``: each pixel takes the events of the sensor's
            pixel that it lies on, as the papers resize frames; the others' are dropped. ``bin``: it takes those of all.
        slice: Frames of equal event ``count``, or of equal ``time``.
        binary: Events clamped to 0/1 ("the 0/1 spike format"); false keeps counts.
        stack: Frames laid along the channels, one static sample: what an ANN teacher of event data sees.
    """

    name: DatasetName
    batch: int = Field(128, ge=1, le=2**24)
    augment: Literal["none", "crop-flip", "cifar10-policy", "roll-flip", "resized-crop-flip"] = "none"
    folder: str = ""
    classes: int = Field(0, ge=0)
    size: int = Field(0, ge=0, le=8192)
    frames: int = Field(0, ge=0, le=65536)
    resize: Literal["nearest", "bin"] = "nearest"
    slice: Literal["count", "time"] = "count"
    binary: bool = True
    stack: bool = False


class Net(Section):
    """``[net]``: which network.

    Attributes:
        name: Family and form.
        width: Channels of the first stage (the mlp's hidden features); every other width scales with it. 0 is the
            published form: 64 for resnet20, resnet18, resnet34 and vgg16, 128 for resnet19, 16 for the others.
        pools: Of ``conv``: behind its last two neurons (``late``) or its first two (``early``).
        block: ``basic``: the neuron stands behind the residual add, spikes stay binary. ``sew``: the add stands behind
            the neuron (SEW-ResNet), its sums are integers.
        stem: Channels of the stem where they differ from the first stage's (TET's resnet19: 64); 0 is the same.
        head: ``linear``: one classifier. ``fc256``: the hidden spiking layer of tdBN's resnet19 before it.
        stem_pool: Pool of the ImageNet stem: ``avg`` (the authors') or ``max`` (SEW-ResNet's code).
    """

    name: Literal["conv", "mlp", "resnet20", "resnet20-slim", "resnet19", "vgg16", "resnet18", "resnet34"]
    width: int = Field(0, ge=0, le=65536)
    pools: Literal["late", "early"] = "late"
    block: Literal["basic", "sew"] = "basic"
    stem: int = Field(0, ge=0, le=65536)
    head: Literal["linear", "fc256"] = "linear"
    stem_pool: Literal["avg", "max"] = "avg"


class Neuron(Section):
    """``[neuron]``: decay τ per step, firing threshold, surrogate gradient of the spike.

    Attributes:
        kind: ``lif``, or ``relu`` for the ANN of the same topology (with ``timesteps = 1``): LAF's teacher.
        tau: Decay of a step.
        v_threshold: Fires at or above it.
        surrogate: ``tanh`` is RMP-Loss Eq. 5, ``ste`` EnOF-SNN Eq. 9.
        detach_reset: Cut the gradient through the reset; the authors' code does not.
    """

    kind: Literal["lif", "relu"] = "lif"
    tau: float = Field(0.25, ge=0, le=1)
    v_threshold: float = Field(0.5, gt=0)
    surrogate: Literal["tanh", "ste", "rectangular", "triangle"] = "tanh"
    detach_reset: bool = False


class Norm(Section):
    """``[norm]``: normalization before each hidden neuron.

    Attributes:
        kind: ``tdbn`` is RMP-Loss Eq. 6-7; ``batchnorm`` the same without α·V_th; ``none`` gives convolutions a bias.
        alpha: α of Eq. 6.
        residual_alpha: α of the norms that end in a residual add; 1/√2 in the tdBN paper.
        residual_where: ``all`` blocks, or only those whose shortcut has a ``downsample`` (InfLoR-SNN's code).
    """

    kind: Literal["tdbn", "batchnorm", "none"] = "tdbn"
    alpha: float = Field(1.0, gt=0)
    residual_alpha: float = Field(1.0, gt=0)
    residual_where: Literal["all", "downsample"] = "all"


class Readout(Section):
    """``[readout]``: the output neuron; ``integrate`` is Eq. 4, u[t] = u[t−1] + x[t]."""

    kind: Literal["integrate"] = "integrate"


class Train(Section):
    """``[train]``: epochs and optimizer.

    Attributes:
        epochs: Passes over the training samples.
        lr: Learning rate of the first epoch.
        optimizer: ``momentum`` is of ``sgd`` only.
        momentum: Of SGD.
        weight_decay: Of the optimizer.
        decay: Parameters that decay: ``all``, or the ``weights`` of convolutions and linear layers (MPBN's code).
        schedule: Of the learning rate, by epoch. ``cosine`` falls to 0 after the last step; ``step`` is a tenth from
            half of the epochs on and a hundredth from three quarters on.
        precision: ``bf16`` is autocast: weights, norms, membranes and losses stay float32.
        clip_norm: Largest norm of all gradients together; 0 does not clip.
        memory: ``channels_last`` is faster for convolutions; results differ by rounding.
    """

    epochs: int = Field(ge=1)
    lr: float = Field(gt=0)
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)
    decay: Literal["all", "weights"] = "all"
    schedule: Literal["cosine", "constant", "step"] = "cosine"
    precision: Literal["float32", "bf16"] = "float32"
    clip_norm: float = Field(0.0, ge=0)
    memory: Literal["contiguous", "channels_last"] = "contiguous"


class CrossEntropyLoss(Section):
    """``[loss.cross_entropy]``: on the mean over T of the logits, on their sum (Eq. 4 as written), or per step."""

    per: Literal["mean_logits", "sum_logits", "per_step"] = "mean_logits"


class RmpLoss(Section):
    """``[loss.rmp]``: RMP-Loss, Eq. 8-12. A missing table is vanilla training.

    The paper allows any p > 0; below 1 the gradient at u = o is infinite, so it is refused here.

    Attributes:
        k: Peak of λ.
        p: Exponent of Eq. 9.
        schedule: λ of Eq. 12 (``ramp``) or k throughout (``constant``).
        per: λ(n) follows the ``epoch`` (the paper) or the ``iteration``.
        layers: ``all`` hidden neurons, or ``exclude_first_last`` (the same group's IM-Loss code).
        potential: What is regularized: ``u_pre`` before the reset, the ``membrane`` after it, or the input ``current``.
        weighting: Mean over layers of layer means (``layer``), or over all elements of all layers (``element``).
    """

    k: float = Field(0.1, ge=0)
    p: float = Field(2.0, ge=1)
    schedule: Literal["ramp", "constant"] = "ramp"
    per: Literal["epoch", "iteration"] = "epoch"
    layers: Literal["all", "exclude_first_last"] = "all"
    potential: Literal["u_pre", "membrane", "current"] = "u_pre"
    weighting: Literal["layer", "element"] = "layer"


class LafLoss(Section):
    """``[loss.laf]``: the LAF loss of EnOF-SNN, Eq. 2-3.

    Attributes:
        weight: λ of Eq. 3: 0.1 on CIFAR and DVS, 1 on ImageNet.
        form: ``paper``: per step, averaged (Alg. 1). ``code``: on the time-averaged feature, times temperature².
        temperature: Divides the logits. Default: that of the form, 1 in the paper and 20 in the code.
        teacher: A recipe's name or a run of ours (the ANN of the same topology), or an ``.onnx`` file.
    """

    weight: float = Field(0.1, ge=0)
    form: Literal["paper", "code"] = "paper"
    temperature: float | None = Field(None, gt=0)
    teacher: str = Field(min_length=1)


class FeatureLoss(Section):
    """``[loss.feature]``: direct feature alignment, EnOF-SNN Eq. 1, which LAF argues against."""

    weight: float = Field(0.1, ge=0)
    teacher: str = Field(min_length=1)


class Losses(Section):
    """``[loss.*]``: the terms that are added up."""

    cross_entropy: CrossEntropyLoss = CrossEntropyLoss()
    rmp: RmpLoss | None = None
    laf: LafLoss | None = None
    feature: FeatureLoss | None = None


class RepAct(Section):
    """``[repact]``: ReLU instead of the last spikes (EnOF-SNN Eq. 8)."""

    enabled: bool = False


class Metric(Section):
    """``[metric]``: exponent p of the quantization error that is reported (Eq. 9), 2 in the paper."""

    p: float = Field(2.0, ge=1)


class Published(Section):
    """``[published]``: the figure of a paper that this recipe stands for; it changes nothing in training.

    Attributes:
        source: Paper and table.
        accuracy: Per cent.
        std: Of the accuracy, in points, where the paper gives one.
        quantization_error: Where the paper gives one.
        seeds: Trials behind the figure, where the paper says.
        note: What the paper leaves open.
    """

    source: str
    accuracy: float = Field(ge=0, le=100)
    std: float | None = Field(None, ge=0)
    quantization_error: float | None = Field(None, ge=0)
    seeds: int | None = Field(None, ge=1)
    note: str = ""
