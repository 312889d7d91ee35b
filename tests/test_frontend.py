"""Modules of snnTorch and SpikingJelly against the libraries' own forward: 0 differing spikes, or a refusal."""

import sys

import numpy as np
import pytest

from neurodeploy import from_torch
from neurodeploy.diagnostics import UnsupportedError, UsageError
from neurodeploy.ir.interpret import interpret
from neurodeploy.ir.nodes import LIF, CubaLIF, Integrator, Norm

torch = pytest.importorskip("torch")
nn = torch.nn
needs_peers = pytest.mark.skipif(sys.version_info < (3, 11), reason="snnTorch and SpikingJelly need Python 3.11")

STEPS, BATCH = 12, 8


@pytest.fixture
def snn():
    return pytest.importorskip("snntorch")


@pytest.fixture
def sj():
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    class Names:
        pass

    names = Names()
    names.functional, names.layer, names.neuron, names.surrogate = functional, layer, neuron, surrogate
    return names


def dyadic_(net: nn.Module) -> nn.Module:
    """Weights and biases on a grid of 1/16: sums are exact in float32, and membranes land on thresholds."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith(("weight", "bias")):
                parameter.copy_(torch.randint(-8, 9, parameter.shape, generator=generator) / 16)
    return net.eval()


def random_(net: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for module in net.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight, std=0.5)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
    return net.eval()


def compared(net, shape, *, reset, output=lambda out: out, many=False, real=False) -> int:
    """0 differing values between the library's and the interpreter's output of all steps; how many are not 0."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(BATCH, STEPS, *shape)) if real else rng.random((BATCH, STEPS, *shape)) < 0.5
    x = x.astype(np.float32)
    steps = torch.from_numpy(np.moveaxis(x, 1, 0).copy())
    graph = from_torch(net, steps if many else steps[0], timesteps=STEPS)
    reset(net)
    with torch.no_grad():
        theirs = output(net(steps)) if many else torch.stack([output(net(step)) for step in steps])
    ours = interpret(graph, x, "float32").output
    theirs = np.moveaxis(theirs.numpy(), 0, 1)
    assert ours.shape == theirs.shape
    assert int(np.sum(ours != theirs)) == 0
    return int(np.count_nonzero(theirs))


def snntorch_reset(net) -> None:
    """From the initial state: snnTorch keeps what an earlier forward left."""
    for module in net.modules():
        if hasattr(module, "reset_mem"):
            module.reset_mem()


def snntorch_conv(snn, **neuron) -> nn.Sequential:
    def leaky(**more):
        return snn.Leaky(init_hidden=True, **{**neuron, **more})

    return nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), groups=2, bias=False),
        leaky(),
        nn.AvgPool2d(2, padding=1),
        nn.Conv2d(4, 3, 2, dilation=2),
        leaky(),
        nn.Flatten(),
        nn.Linear(6, 6),
        leaky(),
    )


@needs_peers
@pytest.mark.parametrize("reset_delay", [True, False])
@pytest.mark.parametrize("prepare", [dyadic_, random_])
def test_snntorch_leaky_with_reset_to_zero(snn, prepare, reset_delay):
    """Conv (stride, padding, groups, dilation), padded average pooling (whose padding snnTorch's NIR export drops)."""
    net = prepare(snntorch_conv(snn, beta=0.25, threshold=0.5, reset_mechanism="zero", reset_delay=reset_delay))
    assert compared(net, (2, 9, 8), reset=snntorch_reset) > 20


@needs_peers
@pytest.mark.parametrize(("beta", "prepare"), [(0.5, dyadic_), (0.9, random_), (1.0, dyadic_), (0.25, dyadic_)])
def test_snntorch_default_reset_subtracts_the_whole_threshold(snn, beta, prepare):
    """reset_mechanism "subtract" with reset_delay, snnTorch's default; its NIR export says reset to zero."""
    net = prepare(snntorch_conv(snn, beta=beta, threshold=0.5))
    assert compared(net, (2, 9, 8), reset=snntorch_reset) > 20


@needs_peers
def test_snntorch_parameters_per_neuron(snn):
    beta, threshold = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]), torch.tensor([0.25, 0.5, 0.75, 1.0, 2.0])
    for reset in ("subtract", "zero"):
        leaky = snn.Leaky(beta, threshold, init_hidden=True, reset_mechanism=reset)
        net = dyadic_(nn.Sequential(nn.Linear(7, 5), leaky))
        assert compared(net, (7,), reset=snntorch_reset) > 50


@needs_peers
def test_snntorch_beta_is_clamped_as_there(snn):
    net = dyadic_(nn.Sequential(nn.Linear(7, 5), snn.Leaky(1.5, 0.5, init_hidden=True, reset_mechanism="zero")))
    assert compared(net, (7,), reset=snntorch_reset) > 20
    assert float(from_torch(net, torch.zeros(1, 7)).nodes["1"].decay) == 1.0


@needs_peers
@pytest.mark.parametrize("prepare", [dyadic_, random_])
def test_snntorch_synaptic(snn, prepare):
    for settings in (
        {"beta": 0.5, "reset_mechanism": "zero", "reset_delay": False},
        {"beta": 1.0, "reset_mechanism": "subtract"},
    ):
        synaptic = snn.Synaptic(alpha=0.5, threshold=0.5, init_hidden=True, **settings)
        net = prepare(nn.Sequential(nn.Linear(7, 5), synaptic))
        assert isinstance(from_torch(net, torch.zeros(1, 7)).nodes["1"], CubaLIF)
        assert compared(net, (7,), reset=snntorch_reset) > 20


@needs_peers
def test_snntorch_rleaky_all_to_all_and_one_to_one(snn):
    """The recurrent bias counts from the first step; subtraction and recurrence are two synapses."""
    cases = [
        {"linear_features": 5, "reset_mechanism": "zero", "reset_delay": False},
        {"linear_features": 5, "reset_mechanism": "subtract"},
        {"all_to_all": False, "V": 0.5, "reset_mechanism": "subtract"},
    ]
    for settings in cases:
        net = dyadic_(nn.Sequential(nn.Linear(7, 5), snn.RLeaky(0.5, threshold=0.5, init_hidden=True, **settings)))
        assert compared(net, (7,), reset=snntorch_reset) > 20
    recurrent = snn.RLeaky(
        0.5, threshold=0.5, init_hidden=True, conv2d_channels=3, kernel_size=3, reset_mechanism="subtract"
    )
    net = dyadic_(nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), recurrent))
    assert compared(net, (2, 5, 4), reset=snntorch_reset) > 50


@needs_peers
def test_snntorch_readout_of_a_membrane(snn):
    """A module that unpacks (spikes, membrane) and returns the membrane of a neuron that does not reset."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(7, 5), nn.Linear(5, 3)
            self.hidden = snn.Leaky(0.5, 0.5, init_hidden=True, reset_mechanism="zero")
            self.readout = snn.Leaky(0.5, init_hidden=True, output=True, reset_mechanism="none")

        def forward(self, x):
            _, membrane = self.readout(self.fc2(self.hidden(self.fc1(x))))
            return membrane

    net = dyadic_(Net())
    assert isinstance(from_torch(net, torch.zeros(1, 7)).nodes["readout"], Integrator)
    assert compared(net, (7,), reset=snntorch_reset) > 20


@needs_peers
def test_a_residual_block_with_norms(sj):
    """Additions, batch norm in eval mode, ReLU and flatten as functions, nested modules."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding="same", bias=False), nn.BatchNorm2d(4))
            self.lif = sj.neuron.LIFNode(tau=2.0, v_threshold=0.5)

        def forward(self, x):
            return self.lif(self.body(x) + x)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(2, 4, 1), sj.neuron.IFNode(v_threshold=0.5), nn.Dropout(0.5))
            self.blocks = nn.Sequential(Block(), Block())
            self.fc = nn.Linear(64, 3)

        def forward(self, x):
            return self.fc(torch.flatten(self.blocks(self.stem(x)), 1))

    net = dyadic_(Net())
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(0.25)
            module.running_var.fill_(1.0)
            module.eps = 0.0
    graph = from_torch(net, torch.zeros(1, 2, 4, 4))
    assert graph.sources("blocks.1.lif") == ("blocks.1.body.1", "blocks.0.lif")
    assert isinstance(graph.nodes["blocks.0.body.1"], Norm)
    assert compared(net, (2, 4, 4), reset=sj.functional.reset_net) > 20


SPIKINGJELLY = {
    "IF": lambda sj: sj.neuron.IFNode(v_threshold=0.5),
    "IF soft": lambda sj: sj.neuron.IFNode(v_threshold=0.5, v_reset=None),
    "IF reset below": lambda sj: sj.neuron.IFNode(v_threshold=0.5, v_reset=-0.25),
    "LIF": lambda sj: sj.neuron.LIFNode(tau=2.0, v_threshold=0.5),
    "LIF soft": lambda sj: sj.neuron.LIFNode(tau=2.0, v_threshold=0.5, v_reset=None),
    "LIF input whole": lambda sj: sj.neuron.LIFNode(tau=4.0, v_threshold=0.5, decay_input=False),
    "LIF input whole, reset below": lambda sj: sj.neuron.LIFNode(
        tau=4.0, v_threshold=0.5, v_reset=-0.5, decay_input=False
    ),
    "LIF input whole, soft": lambda sj: sj.neuron.LIFNode(tau=2.0, v_threshold=0.5, v_reset=None, decay_input=False),
    "PLIF": lambda sj: sj.neuron.ParametricLIFNode(init_tau=2.0, v_threshold=0.5),
    "PLIF input whole": lambda sj: sj.neuron.ParametricLIFNode(init_tau=4.0, v_threshold=0.5, decay_input=False),
}


@needs_peers
@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("kind", SPIKINGJELLY)
def test_spikingjelly_neurons(sj, kind, mode):
    """Every neuron with ties at the threshold, in both step modes; the membrane starts at v_reset."""
    net = dyadic_(
        nn.Sequential(
            sj.layer.Conv2d(2, 3, 3, padding=1),
            SPIKINGJELLY[kind](sj),
            sj.layer.MaxPool2d(2),
            sj.layer.Flatten(),
            sj.layer.Linear(12, 5),
            SPIKINGJELLY[kind](sj),
        )
    )
    if mode == "m":
        sj.functional.set_step_mode(net, "m")
    assert compared(net, (2, 4, 4), reset=sj.functional.reset_net, many=mode == "m") > 10


@needs_peers
def test_spikingjelly_on_random_weights_and_real_input(sj):
    net = random_(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            sj.neuron.LIFNode(tau=2.0),
            nn.Flatten(),
            nn.Linear(64, 5),
            sj.neuron.LIFNode(),
        )
    )
    assert compared(net, (2, 4, 4), reset=sj.functional.reset_net, real=True) > 30


@needs_peers
def test_the_modules_state_and_parameters_are_left_alone(snn):
    net = random_(snntorch_conv(snn, beta=0.5))
    x = torch.rand(3, 2, 9, 8)
    net(x)
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    graph = from_torch(net, x)
    assert all(torch.equal(before[name], buffer) for name, buffer in net.named_buffers())
    graph.nodes["0"].weight[:] = 0  # a copy: the network does not see it
    assert float(net[0].weight.detach().abs().sum()) > 0


class Loop(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Doubled(nn.Module):
    def forward(self, x):
        return x + x


class Two(nn.Module):
    def forward(self, x, state):
        return x


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(7))

    def forward(self, x):
        return x * self.weight


REFUSED = {
    "subtract twice": (lambda s: s.Leaky(0.5, init_hidden=True, reset_delay=False), "subtracts twice"),
    "no reset, spiking": (lambda s: s.Leaky(0.5, init_hidden=True, reset_mechanism="none"), '"none"'),
    "synaptic zero": (lambda s: s.Synaptic(0.5, 0.5, init_hidden=True, reset_mechanism="zero"), "reset_delay=False"),
    "synaptic subtract": (lambda s: s.Synaptic(0.5, 0.5, init_hidden=True), "behind a synaptic current"),
    "inhibition": (lambda s: s.Leaky(0.5, init_hidden=True, inhibition=True), "inhibition"),
    "quantized state": (lambda s: s.Leaky(0.5, init_hidden=True, state_quant=torch.round), "state_quant"),
    "graded": (lambda s: s.Leaky(0.5, init_hidden=True, graded_spikes_factor=2.0), "graded_spikes_factor"),
    "returns its state": (lambda s: nn.Sequential(s.Leaky(0.5), nn.Linear(7, 3)), "init_hidden=True"),
    "alpha neuron": (lambda s: s.Alpha(0.9, 0.8, init_hidden=True), "Alpha is not read"),
    "own surrogate": (lambda s: s.Leaky(0.5, init_hidden=True, spike_grad=torch.sigmoid), "no step function"),
    "threshold": (lambda s: s.Leaky(0.5, -1.0, init_hidden=True), "above 0"),
    "ceil pool": (lambda s: nn.AvgPool2d(2, ceil_mode=True), "ceil_mode"),
    "pool padding": (lambda s: nn.AvgPool2d(2, padding=1, count_include_pad=False), "count_include_pad"),
    "circular": (lambda s: nn.Conv2d(7, 2, 1, padding_mode="circular"), "circular"),
    "training": (lambda s: nn.Dropout(0.5), "eval()"),
    "unknown": (lambda s: nn.GELU(), "not read"),
    "partial flatten": (lambda s: nn.Flatten(2), "flattens axes 2"),
    "control flow": (lambda s: Loop(), "cannot be traced"),
    "doubled": (lambda s: Doubled(), "added to itself"),
    "two inputs": (lambda s: Two(), "several inputs"),
    "own parameters": (lambda s: Own(), "not read"),
}  # fmt: skip


@needs_peers
@pytest.mark.filterwarnings("ignore:Inhibition")
@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_read_wrongly_is_refused(snn, case):
    make, words = REFUSED[case]
    with pytest.raises(UnsupportedError) as caught:
        from_torch(make(snn), torch.zeros(1, 7))
    assert caught.value.code == "ND257"
    assert words in f"{caught.value.message} {caught.value.fix}", caught.value
    assert caught.value.fix


@needs_peers
def test_spikingjelly_refusals(sj):
    for module, words in (
        (sj.neuron.QIFNode(), "QIFNode is not read"),
        (sj.neuron.IFNode(surrogate_function=sj.surrogate.ATan(spiking=False)), "no step function"),
        (nn.Sequential(sj.neuron.IFNode(step_mode="m"), sj.neuron.IFNode()), "step_mode"),
    ):
        with pytest.raises(UnsupportedError, match=words) as caught:
            from_torch(module, torch.zeros(2, 1, 7))
        assert caught.value.code == "ND257"


@needs_peers
def test_shapes(snn):
    with pytest.raises(UsageError) as caught:
        from_torch(nn.Linear(3, 2), torch.zeros(1, 7))
    assert caught.value.code == "ND105"
    graph = from_torch(nn.Linear(7, 2), torch.zeros(1, 7), timesteps=4)
    assert (graph.timesteps, graph.shapes[graph.output]) == (4, (2,))
    assert not graph.names(LIF)


class InPlace(nn.Module):
    """``second(relu(first(x)))`` and, ``shared``, the rectified tensor again under its old name."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.first, self.second, self.relu = nn.Linear(7, 7), nn.Linear(7, 7), nn.ReLU(inplace=True)
        self.shared = shared

    def forward(self, x):
        kept = self.first(x)
        out = self.second(self.relu(kept))
        return out + kept if self.shared else out


def test_a_change_in_place_that_others_read_is_refused():
    with pytest.raises(UnsupportedError, match="in place") as caught:
        from_torch(InPlace(True), torch.zeros(1, 7))
    assert caught.value.code == "ND257"
    module, x = InPlace(False), torch.randn(3, 7)
    graph = from_torch(module, x[:1], timesteps=1)
    found = interpret(graph, x.numpy()[:, None], "float32").output[:, 0]
    np.testing.assert_allclose(found, module(x).detach().numpy(), rtol=1e-5, atol=1e-6)
