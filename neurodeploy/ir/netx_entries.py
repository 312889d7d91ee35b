"""The entries of one layer of a ``.net`` file, checked as they are read; findings are collected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neurodeploy.diagnostics import Finding
from neurodeploy.ir.machine import BIAS_LIMIT, DECAY_UNITY
from neurodeploy.ir.netx_file import Entry, Layer
from neurodeploy.ir.netx_weights import fits_eight_bits, used_by_lava
from neurodeploy.ir.nodes import Pair, Shape

#: Codes: netx drops it or cannot build it; netx or Lava changes the number; the file leaves it to the caller.
DROPPED, CHANGED, LEFT_OPEN = "ND253", "ND254", "ND255"
INT8, MOST_DELAY = 127, 62
#: Entries of a neuron that netx reads, and those that only training reads.
NEURON = ("type", "iDecay", "vDecay", "vThMant")
TRAINING = ("theta", "tauRho", "scaleRho")
#: Entries that netx ignores -> the only values with which ignoring them is right.
IGNORED = {"refDelay": (0, 1), "gradedSpike": (0,), "wgtExp": (0,), "weight_exp": (0,)}


class Refused(Exception):
    """The rest of this layer cannot be read; the finding is already on the list."""


class Entries:
    """One layer's entries. ``findings`` is shared with the whole file."""

    def __init__(self, name: str, layer: Layer, findings: list[Finding]) -> None:
        self.name, self.type, self.findings = name, layer.type, findings
        self._entries, self.neuron = layer.entries, layer.neuron

    # -- findings

    def refuse(self, measured: str, rule: str, fix: str) -> Refused:
        """ND253; to be raised, because the layer cannot be built."""
        self.findings.append(Finding(DROPPED, "error", self.name, f"{self.type}: {rule}", measured, None, "", fix))
        return Refused()

    def change(self, what: str, rule: str, measured: object, limit: float | str | None = None, fix: str = "") -> None:
        """ND254; the layer is checked on."""
        rule, fix = f"{self.type} `{what}`: {rule}", fix or "write numbers that Lava keeps"
        value = measured if isinstance(measured, (int, float, str)) else str(measured)
        self.findings.append(Finding(CHANGED, "error", self.name, rule, value, limit, "", fix))

    def check_known(self, *known: str) -> None:
        """An entry that netx ignores is refused where that changes the network, else a warning."""
        for key in self._entries:
            if key in known:
                continue
            if key.startswith("weight/"):
                self.refuse(key, "complex weights (resonate and fire) are not read", "use CUBA neurons")
            elif key in IGNORED:
                self._check_ignored(key, self._entries[key])
            elif key == "delay":  # on a convolution
                if np.any(np.asarray(self._entries[key]) != 0):
                    self.refuse("delay", "netx ignores the delays of a convolution", "remove them, or use dense")
            else:
                rule = f"{self.type}: netx does not read the entry `{key}`; it is left out here too"
                self.findings.append(Finding(LEFT_OPEN, "warning", self.name, rule, key, fix="remove it"))

    def _check_ignored(self, key: str, value: Entry) -> None:
        number = None if isinstance(value, str) else np.asarray(value).reshape(-1)
        if number is None or not np.all(np.isin(number, IGNORED[key])):
            measured = f"{key} {value if number is None else number[0]}"
            usual = " or ".join(map(str, IGNORED[key]))
            self.refuse(measured, f"netx ignores it and computes as with {usual}", f"write {usual} if that is meant")

    # -- plain entries

    def has(self, key: str) -> bool:
        """Whether the layer has the entry."""
        return key in self._entries

    def declared_shape(self) -> Shape | None:
        """``shape`` as it stands in the file, for checking the layers behind a refused one."""
        value = self._entries.get("shape")
        if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iu" and value.min() > 0:
            shape = tuple(int(n) for n in value)
            return (int(np.prod(shape)),) if self.type.startswith("dense") else shape
        return None

    def _array(self, key: str) -> np.ndarray:
        value = self._entries.get(key)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "iufb" or value.size == 0:
            what = "missing" if value is None else "not a number"
            raise self.refuse(f"`{key}` is {what}", "netx needs it", "write it as lava-dl does")
        return value

    def integers(self, key: str) -> np.ndarray:
        """The entry as int64; netx cuts the fraction off (``astype(int)``), which is refused."""
        value = self._array(key)
        if value.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                broken = ~(np.abs(value) < 2.0**31) | (value != np.trunc(value))
            if broken.any():
                first = float(value[broken].reshape(-1)[0])
                becomes = f"{first:g} becomes {int(first)}" if np.isfinite(first) else f"{first}"
                rule = f"netx cuts numbers off toward zero; {int(broken.sum())} of {value.size} are not integers"
                self.change(key, rule, becomes, fix="quantize first: integers only")
                raise Refused
        return value.astype(np.int64)

    def number(self, key: str, default: int) -> int:
        """A scalar entry, or ``default``."""
        if key not in self._entries:
            return default
        value = self.integers(key)
        if value.size != 1:
            raise self.refuse(f"`{key}` has shape {value.shape}", "it must be one number", "one number per layer")
        return int(value.reshape(-1)[0])

    def shape(self) -> Shape:
        """``shape``: C, H, W or N."""
        value = self.integers("shape")
        if value.ndim != 1 or value.min() < 1:
            raise self.refuse(f"shape {value.tolist()}", "a shape is a list of sizes of at least 1", "correct the file")
        return tuple(int(n) for n in value)

    def pair(self, key: str) -> Pair:
        """``(H, W)`` of a geometry entry; one number stands for both."""
        value = self.integers(key).reshape(-1)
        if value.size not in (1, 2):
            raise self.refuse(f"`{key}` has {value.size} values", "it must be one or two (H, W)", "correct the file")
        if value.min() < (0 if key == "padding" else 1):
            raise self.refuse(f"{key} {value.tolist()}", "too small", "correct the file")
        if value.max() > INT8:
            self.change(key, "Lava keeps it in 8 bits with sign, where it turns negative", int(value.max()), INT8)
        return int(value[0]), int(value[-1])

    def groups(self, weight: np.ndarray) -> int:
        """``groups``; from 128 on Lava computes zeros."""
        groups = self.number("groups", 0)
        if groups < 1 or weight.shape[0] % groups:
            what = f"groups {groups} for {weight.shape[0]} output channels"
            raise self.refuse(what, "groups must divide the channels", "correct the file")
        if groups > INT8:
            fix = "write fewer, larger groups with zeros between them"
            self.change("groups", "Lava keeps it in 8 bits with sign; from 128 on it computes zeros", groups, INT8, fix)
        return groups

    # -- weights

    def conv_weight(self) -> np.ndarray:
        """``(O, I/groups, kH, kW)``; lava-dl writes a fifth axis of size 1."""
        weight = self.integers("weight")
        if weight.ndim == 5 and weight.shape[4] == 1:
            weight = weight[..., 0]
        if weight.ndim != 4:
            raise self.refuse(f"weight {weight.shape}", "a convolution needs (O, I/groups, kH, kW)", "correct the file")
        return weight

    def matrix(self, key: str, out: int) -> np.ndarray:
        """``(O, I)``, from O rows or from a flat list."""
        weight = self.integers(key)
        if weight.ndim == 1 and weight.size % out == 0:
            weight = weight.reshape(out, -1)
        if weight.ndim != 2 or weight.shape[0] != out:
            raise self.refuse(f"{key} {weight.shape}", f"the layer has {out} neurons", "correct weight or shape")
        return weight

    def check_bits(self, *weights: np.ndarray) -> bool:
        """Refuse what 8 bits cannot hold, although Lava's CPU models compute with it."""
        together = np.concatenate([w.reshape(-1) for w in weights])
        if fits_eight_bits(together):
            return True
        rule = "8 bits hold -128…127, or even numbers in -256…254, or 0…255 of one sign"
        measured = f"{together.min()} … {together.max()}, {int(np.sum(together % 2 != 0))} odd"
        self.change("weight", rule, measured, 8, "rescale: w = 2q with q in -127…127 always fits")
        return False

    def check_dense(self, matrices: Sequence[np.ndarray]) -> None:
        """Refuse weights that netx's scaling and Lava's truncation would change."""
        used = used_by_lava(*matrices)
        if used is None:
            rule = "netx's scaling fails, or Lava computes with zeros"
            measured = f"all in {min(m.min() for m in matrices)} … {max(m.max() for m in matrices)}"
            self.change("weight", rule, measured, fix="give the layer at least one positive weight, none beyond 254")
            return
        whole, after = (np.concatenate([m.reshape(-1) for m in group]) for group in (matrices, used))
        wrong = np.flatnonzero(whole != after)
        if wrong.size:
            rule = f"Lava changes {wrong.size} of {whole.size} weights without a word"
            measured = f"{whole[wrong[0]]} becomes {after[wrong[0]]:g}"
            fix = "w = 2q with q in -127…127, one of them positive, always stays"
            self.change("weight", rule, measured, fix=fix)
            return
        self.check_bits(*matrices)

    def bias(self, out: int, *, any_size: bool) -> np.ndarray:
        """``(O,)``; zeros where the layer has none."""
        if not self.has("bias"):
            return np.zeros(out, np.int64)
        bias = self.integers("bias")
        if bias.shape != (out,):
            if not (any_size and bias.size == 1 and bias.ndim <= 1):
                fix = f"give it {out} values"
                raise self.refuse(f"bias {bias.shape}", "a bias has one value per output channel", fix)
            bias = np.broadcast_to(bias.reshape(-1), (out,))
        largest = int(np.abs(bias).max())
        if largest > BIAS_LIMIT:
            rule = "a bias has 12 bits and a sign; Lava wraps it at 16 bits"
            self.change("bias", rule, largest, BIAS_LIMIT, "rescale the layer: smaller weights, threshold and bias")
        return bias

    def delay(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """Steps ``(O, I)`` of a dense layer as netx spreads them; None where all are zero.

        One value per output row wins over one per input where both fit (O = I), as in netx.
        """
        if not self.has("delay"):
            return None
        delay = self.integers("delay")
        if delay.min() < 0 or delay.max() > MOST_DELAY:
            rule = f"delays are 0…{MOST_DELAY}; netx clamps or refuses others"
            self.change("delay", rule, int(delay.max() if delay.min() >= 0 else delay.min()), MOST_DELAY)
            raise Refused
        if delay.ndim == 1 and delay.size == shape[0]:
            delay = delay[:, None]
        elif delay.ndim == 1 and delay.size == shape[1]:
            delay = delay[None, :]
        elif delay.ndim and delay.shape != shape:
            rule = f"one, one per output, one per input, or {shape}"
            raise self.refuse(f"delay {delay.shape}", rule, "correct the file")
        full = np.broadcast_to(delay, shape)
        return full if full.any() else None

    # -- neurons

    def neuron_numbers(self) -> tuple[int, int, int] | None:
        """``(iDecay, vDecay, vThMant)``; None without a neuron."""
        if self.neuron is None:
            return None
        kind = self.neuron.get("type")
        if kind not in ("CUBA", "LOIHI"):
            raise self.refuse(f"neuron type `{kind}`", "only CUBA (or LOIHI) neurons are read", "use CUBA neurons")
        for key, value in self.neuron.items():
            if key in IGNORED:
                self._check_ignored(key, value)
            elif key == "messageBits":
                self.refuse("messageBits", "netx cannot read it from a file; a network with it hangs", "remove it")
            elif key not in (*NEURON, *TRAINING):
                rule = f"{self.type}: netx does not read `neuron/{key}`; it is left out here too"
                self.findings.append(Finding(LEFT_OPEN, "warning", self.name, rule, key, fix="remove it"))
        inner = Entries(self.name, Layer(f"{self.type} neuron", self.neuron), self.findings)
        found = []
        for key, limit in (("iDecay", DECAY_UNITY), ("vDecay", DECAY_UNITY), ("vThMant", None)):
            if inner.has(key) and inner._array(key).size != 1:
                rule = "Lava has one decay and one threshold per layer; it fails, or mixes the neurons up"
                raise self.refuse(f"{key} of shape {inner._array(key).shape}", rule, "one number per layer")
            number = inner.number(key, 0) if inner.has(key) else int(inner.integers(key)[0])
            if number < 0 or (limit is not None and number > limit):
                rule = "below 0" if number < 0 else "more than the whole state would decay"
                inner.change(key, rule, number, limit)
                raise Refused
            found.append(number)
        return found[0], found[1], found[2]
