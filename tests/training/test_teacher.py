"""Teachers: runs of ours and ONNX files, against torch; and every way they can be the wrong ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from neurodeploy.config.recipe import Recipe, load_recipe
from neurodeploy.diagnostics import UsageError
from neurodeploy.files import sha256, write_json, write_text
from neurodeploy.nn.nets import build
from neurodeploy.training.teacher import Teacher, load_teacher

F, N = 6, 10
STUDENT = load_recipe("digits/mlp-vanilla", ["net.width=6"])


def student(spec: str, table: str = "laf") -> Recipe:
    return load_recipe("digits/mlp-vanilla", ["net.width=6", f"loss.{table}.teacher={spec}"])


def load(spec: str | Path, recipe: Recipe = STUDENT, *, feature_size: int = F, classes: int = N) -> Teacher:
    return load_teacher(str(spec), recipe=recipe, feature_size=feature_size, classes=classes, device="cpu")


def refused(spec: str | Path, recipe: Recipe = STUDENT, *, feature_size: int = F, classes: int = N) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load(spec, recipe, feature_size=feature_size, classes=classes)
    return caught.value


# Runs.


def make_run(folder: Path, recipe: Recipe, *, finished: bool = True) -> nn.Module:
    """A run with the files that training leaves, and its network with norms that have seen something."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    torch.manual_seed(3)
    model = build(recipe)
    for _ in range(20):
        model(torch.randn(1, 16, 1, 8, 8))
    write_text(folder / "recipe.toml", recipe.to_toml())
    write_json(folder / "manifest.json", {})
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    if finished:
        write_json(folder / "evaluation.json", {})
    return model.eval()


def ann(*more: str) -> Recipe:
    settings = ["net.width=6", "neuron.kind=relu", "timesteps=1", "norm.kind=batchnorm", *more]
    return load_recipe("digits/mlp-vanilla", settings)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_an_ann_of_ours(runs: Path) -> None:
    model = make_run(runs / "digits-ann", ann())
    x_BCHW = torch.randn(5, 1, 8, 8)
    expected: list[Tensor] = []
    model.get_submodule("fc").register_forward_pre_hook(lambda _module, inputs: expected.append(inputs[0][0]))
    with torch.no_grad():
        u_TBN = model(x_BCHW.unsqueeze(0))
    for spec in ("digits-ann", "digits/ann", runs / "digits-ann"):
        teacher = load(spec)
        logits_BN, feature_BF = teacher(x_BCHW)
        assert torch.equal(logits_BN, u_TBN[0])
        assert torch.equal(feature_BF, expected[0])
        assert torch.equal(teacher.weight, model.get_submodule("fc").weight)
        assert torch.equal(teacher.bias, model.get_submodule("fc").bias)
        assert teacher.label == str(spec)
        assert teacher.sha256 == sha256(runs / "digits-ann" / "model.safetensors")
    assert feature_BF.min() >= 0
    assert len(feature_BF.unique()) > 12, "an ANN's feature is not made of spikes"


def test_a_spiking_run_gives_mean_logits_and_the_time_averaged_feature(runs: Path) -> None:
    recipe = load_recipe("digits/mlp-vanilla", ["net.width=6", "timesteps=4"])
    model = make_run(runs / "snn", recipe)
    x_BCHW = torch.randn(7, 1, 8, 8)
    teacher = load("snn")
    logits_BN, feature_BF = teacher(x_BCHW)
    with torch.no_grad():
        torch.testing.assert_close(logits_BN, model(x_BCHW.unsqueeze(0))[-1] / 4)
    # Averages of four 0/1 steps, and the classifier of the mean is the mean of the classifier.
    assert set((4 * feature_BF).unique().tolist()) <= {0, 1, 2, 3, 4}
    torch.testing.assert_close(nn.functional.linear(feature_BF, teacher.weight, teacher.bias), logits_BN)


def test_frozen_evaluated_without_gradient_and_float32_under_autocast(runs: Path) -> None:
    make_run(runs / "digits-ann", ann())
    state = torch.get_rng_state()
    teacher = load("digits-ann")
    assert torch.equal(torch.get_rng_state(), state), "loading draws from no one's generator"
    x_BCHW = torch.randn(5, 1, 8, 8)
    outside = teacher(x_BCHW)
    with torch.autocast("cpu", torch.bfloat16):
        inside = teacher(x_BCHW)
    for once, again in zip(outside, inside, strict=True):
        assert again.dtype == torch.float32
        assert not again.requires_grad
        assert torch.equal(once, again)
    # One sample alone: in training mode its norm would give the bias whatever the sample.
    torch.testing.assert_close(teacher(x_BCHW[:1])[0], outside[0][:1])


def test_not_there(runs: Path) -> None:
    error = refused("digits/mlp-rmp", student("digits/mlp-rmp"))
    assert (error.code, error.where) == ("ND101", "loss.laf.teacher")
    assert error.fix.startswith("neurodeploy train digits/mlp-rmp")
    make_run(runs / "digits-ann", ann())
    assert "digits-ann" in refused("digits/amn").fix
    assert refused("./digits/ann").code == "ND103"
    error = refused("nowhere.onnx", student("nowhere.onnx", "feature"))
    assert (error.code, error.where) == ("ND103", "loss.feature.teacher")


def test_unfinished(runs: Path) -> None:
    make_run(runs / "digits-ann", ann("train.epochs=7"), finished=False)
    error = refused("digits/ann")
    assert error.code == "ND123"
    assert "7 epochs" in error.message
    assert "neurodeploy train runs/digits-ann/recipe.toml --out runs/digits-ann" in error.fix


def test_several_seeds(runs: Path) -> None:
    make_run(runs / "digits-ann" / "seed-0", ann())
    error = refused("digits/ann")
    assert error.code == "ND107"
    assert "runs/digits-ann/seed-0" in error.fix
    assert load("runs/digits-ann/seed-0").weight.shape == (N, F)


def test_no_run(runs: Path) -> None:
    runs.joinpath("empty").mkdir(parents=True)
    assert refused("empty").code == "ND107"


def test_other_width_or_classes_than_the_student(runs: Path) -> None:
    make_run(runs / "digits-ann", ann())
    error = refused("digits/ann", student("digits/ann"), feature_size=128)
    assert (error.code, error.where) == ("ND102", "loss.laf.teacher")
    assert "takes 6 features" in error.message
    assert "the student's takes 128 and gives 10" in error.message
    error = refused("digits/ann", classes=100)
    assert "gives 10 classes" in error.message
    assert "gives 100" in error.message


def settings(*overrides: str) -> Recipe:
    return load_recipe("digits/mlp-vanilla", overrides)


@pytest.mark.parametrize(
    ("there", "here", "key"),
    [
        (["data.name=mnist"], ["data.name=fashion-mnist"], "data.name is mnist there, fashion-mnist here"),
        (["data.name=cifar10-dvs", "timesteps=10"], ["data.name=cifar10-dvs", "timesteps=4"], "data.frames is 10"),
        (["data.name=nmnist", "data.slice=time"], ["data.name=nmnist"], "data.slice is time there, count here"),
        (["data.name=nmnist"], ["data.name=nmnist", "timesteps=1", "data.stack=true", "data.frames=4"], "data.stack"),
    ],
)
def test_trained_on_other_samples(there: list[str], here: list[str], key: str) -> None:
    from neurodeploy.training.teacher import _refuse_other_samples

    with pytest.raises(UsageError) as caught:
        _refuse_other_samples("x", settings(*there), settings(*here), "loss.laf.teacher")
    assert caught.value.code == "ND102"
    assert key in caught.value.message


@pytest.mark.parametrize(
    ("there", "here"),
    [
        (["data.name=cifar10"], ["data.name=cifar10-jpeg", "data.augment=crop-flip", "timesteps=2"]),
        (["data.name=cifar10-dvs", "timesteps=1", "data.stack=true", "data.frames=10"],
         ["data.name=cifar10-dvs", "timesteps=10"]),
    ],
)  # fmt: skip
def test_trained_on_the_same_samples(there: list[str], here: list[str]) -> None:
    from neurodeploy.training.teacher import _refuse_other_samples

    _refuse_other_samples("x", settings(*there), settings(*here), "loss.laf.teacher")


def test_frames_are_stacked_for_a_teacher_that_saw_them_stacked() -> None:
    from neurodeploy.training.teacher import _time_first

    x_BTCHW = torch.arange(2 * 3 * 2, dtype=torch.float32).reshape(2, 3, 2, 1, 1)
    stacked = _time_first(x_BTCHW, stack=True)
    assert stacked.shape == (1, 2, 6, 1, 1)
    # Frame after frame, the channels of a frame beside each other.
    assert stacked[0, 0].flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert torch.equal(_time_first(x_BTCHW, stack=False)[2, 1], x_BTCHW[1, 2])


# ONNX files.


class SmallAnn(nn.Module):
    """conv-ReLU-mean-fc: what :func:`small_onnx` writes down, in torch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.conv = nn.Conv2d(1, F, 3, padding=1)
        self.fc = nn.Linear(F, N)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        feature = self.conv(x_BCHW).relu().mean((2, 3))
        return self.fc(feature), feature


NET = SmallAnn().requires_grad_(False)


def gemm(trans_b: int, alpha: float = 1.0, beta: float = 1.0) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """A Gemm that computes NET.fc, whatever its options."""
    weight = NET.fc.weight.numpy() / alpha
    node = helper.make_node("Gemm", ["feature", "W", "b"], ["logits"], alpha=alpha, beta=beta, transB=trans_b)
    return [node], {"W": weight if trans_b else weight.T, "b": NET.fc.bias.numpy() / beta}


def matmul(bias_first: bool = False) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    operands = ["b", "product"] if bias_first else ["product", "b"]
    nodes = [
        helper.make_node("MatMul", ["feature", "W"], ["product"]),
        helper.make_node("Add", operands, ["logits"]),
    ]
    return nodes, {"W": NET.fc.weight.numpy().T, "b": NET.fc.bias.numpy()}


def small_onnx(
    path: Path,
    classifier: tuple[list[onnx.NodeProto], dict[str, np.ndarray]],
    *,
    batch: int | str = "B",
    output: str = "logits",
    channels: int = 1,
) -> Path:
    nodes, tensors = classifier
    body = [
        helper.make_node("Conv", ["x", "K", "k"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["feature"]),
    ]
    kernel = NET.conv.weight.numpy().repeat(channels, 1)
    tensors = {"K": kernel, "k": NET.conv.bias.numpy(), **tensors}
    graph = helper.make_graph(
        [*body, *nodes],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, channels, 8, 8])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in tensors.items()],
    )
    # The versions that the oldest ONNX Runtime of ours reads.
    onnx.save(helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def then(
    classifier: tuple[list[onnx.NodeProto], dict[str, np.ndarray]], *nodes: onnx.NodeProto
) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    return [*classifier[0], *nodes], classifier[1]


def assert_is_the_net(teacher: Teacher, x_BCHW: Tensor) -> None:
    logits, feature = teacher(x_BCHW)
    expected_logits, expected_feature = NET(x_BCHW)
    # Sums of 9 and 6 terms near 1, in another order.
    torch.testing.assert_close(feature, expected_feature, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits, expected_logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(teacher.weight, NET.fc.weight)
    torch.testing.assert_close(teacher.bias, NET.fc.bias)
    assert logits.dtype == feature.dtype == teacher.weight.dtype == torch.float32


FORMS: dict[str, Callable[[], tuple[list[onnx.NodeProto], dict[str, np.ndarray]]]] = {
    "transB": lambda: gemm(1),
    "plain B": lambda: gemm(0),
    "alpha and beta": lambda: gemm(1, 0.5, -2.0),
    "MatMul and Add": matmul,
    "Add with the bias first": lambda: matmul(bias_first=True),
    "MatMul of a transposed weight": lambda: (
        [helper.make_node("Transpose", ["V"], ["W"], perm=[1, 0]), *matmul()[0]],
        {"V": NET.fc.weight.numpy(), "b": NET.fc.bias.numpy()},
    ),
    "weight in a Constant node": lambda: (
        [
            helper.make_node("Constant", [], ["W"], value=numpy_helper.from_array(NET.fc.weight.numpy(), "W")),
            *gemm(1)[0],
        ],
        {"b": NET.fc.bias.numpy()},
    ),
    "bias of two axes": lambda: (gemm(1)[0], {**gemm(1)[1], "b": NET.fc.bias.numpy()[None]}),
}


@pytest.mark.parametrize("form", FORMS)
def test_onnx_gives_what_torch_gives(form: str, tmp_path: Path) -> None:
    path = small_onnx(tmp_path / "ann.onnx", FORMS[form]())
    teacher = load(path)
    assert_is_the_net(teacher, torch.randn(5, 1, 8, 8))
    assert teacher.label == str(path)
    assert teacher.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("bias", [True, False])
def test_a_file_that_torch_exported(bias: bool, tmp_path: Path) -> None:
    torch.manual_seed(6)
    body = nn.Sequential(
        nn.Conv2d(1, F, 3, bias=False), nn.BatchNorm2d(F), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    for _ in range(5):
        body(torch.randn(16, 1, 8, 8))
    net = nn.Sequential(body, nn.Linear(F, N, bias=bias)).eval()
    path = tmp_path / "ann.onnx"
    try:
        torch.onnx.export(
            net, (torch.randn(2, 1, 8, 8),), str(path), dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "B"}}
        )
    except (ImportError, TypeError) as error:
        pytest.skip(f"this torch does not export ONNX without more packages: {error}")
    teacher = load(path)
    x_BCHW = torch.randn(5, 1, 8, 8)
    logits, feature = teacher(x_BCHW)
    with torch.no_grad():
        torch.testing.assert_close(feature, body(x_BCHW), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(logits, net(x_BCHW), rtol=1e-5, atol=1e-6)
    assert torch.equal(teacher.weight, net[1].weight)
    assert teacher.bias.tolist() == (net[1].bias.tolist() if bias else [0.0] * N)


def test_logits_are_taken_before_a_softmax(tmp_path: Path) -> None:
    softmax = then(gemm(1), helper.make_node("Softmax", ["logits"], ["probability"]))
    assert_is_the_net(load(small_onnx(tmp_path / "ann.onnx", softmax, output="probability")), torch.randn(3, 1, 8, 8))


def test_no_bias_is_zero(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["feature", "W"], ["logits"])]
    teacher = load(small_onnx(tmp_path / "ann.onnx", (nodes, {"W": NET.fc.weight.numpy().T})))
    assert teacher.bias.tolist() == [0.0] * N
    x_BCHW = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(teacher(x_BCHW)[0], NET(x_BCHW)[0] - NET.fc.bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 4, 5, 8])
def test_a_fixed_batch_is_fed_in_pieces(batch: int, tmp_path: Path) -> None:
    teacher = load(small_onnx(tmp_path / "ann.onnx", gemm(1), batch=batch))
    assert_is_the_net(teacher, torch.randn(5, 1, 8, 8))


def test_no_samples(tmp_path: Path) -> None:
    logits, feature = load(small_onnx(tmp_path / "ann.onnx", gemm(1)))(torch.zeros(0, 1, 8, 8))
    assert (logits.shape, feature.shape) == ((0, N), (0, F))


def test_frames_are_laid_along_the_channels(tmp_path: Path) -> None:
    teacher = load(small_onnx(tmp_path / "ann.onnx", gemm(1), channels=6))
    x_BTCHW = torch.randn(2, 3, 2, 8, 8)
    assert torch.equal(teacher(x_BTCHW)[0], teacher(x_BTCHW.flatten(1, 2))[0])


def test_weights_beside_the_file_are_read_and_digested(tmp_path: Path) -> None:
    path = small_onnx(tmp_path / "ann.onnx", gemm(1))
    whole = sha256(path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="ann.data", size_threshold=0)
    teacher = load(path)
    assert_is_the_net(teacher, torch.randn(5, 1, 8, 8))
    assert teacher.sha256 not in (whole, sha256(path))
    data = bytearray((tmp_path / "ann.data").read_bytes())
    data[-1] ^= 1
    (tmp_path / "ann.data").write_bytes(data)
    assert load(path).sha256 != teacher.sha256
    (tmp_path / "ann.data").unlink()
    assert "no readable ONNX file" in refused(path).message


def test_gradient_ends_at_an_onnx_teacher_and_autocast_does_not_change_it(tmp_path: Path) -> None:
    teacher = load(small_onnx(tmp_path / "ann.onnx", gemm(1)))
    x_BCHW = torch.randn(3, 1, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        logits, feature = teacher(x_BCHW)
    assert not logits.requires_grad
    assert not feature.requires_grad
    assert_is_the_net(teacher, x_BCHW.detach())


def training_norm() -> list[onnx.NodeProto]:
    return [
        helper.make_node(
            "BatchNormalization", ["feature", "s", "s", "s", "s"], ["normed", "m", "v"], name="bn", training_mode=1
        ),
        helper.make_node("Gemm", ["normed", "W", "b"], ["logits"], transB=1),
    ]


BROKEN: dict[str, tuple[Callable[[], tuple[list[onnx.NodeProto], dict[str, np.ndarray]]], str]] = {
    "no Gemm": (lambda: ([helper.make_node("Identity", ["feature"], ["logits"])], {}), "no Gemm and no MatMul"),
    "a layer behind it": (
        lambda: then(gemm(1), helper.make_node("Relu", ["logits"], ["out"], name="last")),
        "Relu `last` stands behind",
    ),
    "not an output": (
        lambda: then(gemm(1), helper.make_node("Identity", ["feature"], ["out"])),
        "does not reach an output",
    ),
    "transA": (
        lambda: (
            [helper.make_node("Gemm", ["feature", "W", "b"], ["logits"], transA=1, transB=1)],
            {"W": np.zeros((N, 5), np.float32), "b": NET.fc.bias.numpy()},
        ),
        "transposes its input",
    ),
    "weights computed from the input": (
        lambda: ([helper.make_node("Gemm", ["feature", "feature"], ["logits"], transB=1)], {}),
        "are computed in the graph",
    ),
    "a norm in training mode": (
        lambda: (training_norm(), {**gemm(1)[1], "s": np.ones(F, np.float32)}),
        "BatchNormalization `bn` is in training mode",
    ),
    "a bias of another size": (lambda: (gemm(1)[0], {**gemm(1)[1], "b": np.zeros(3, np.float32)}), "has shape (3,)"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_without_a_usable_classifier(case: str, tmp_path: Path) -> None:
    make, message = BROKEN[case]
    classifier = make()
    output = classifier[0][-1].output[0]
    error = refused(small_onnx(tmp_path / "ann.onnx", classifier, output=output))
    assert error.code == "ND103"
    assert message in error.message
    assert error.where == str(tmp_path / "ann.onnx")
    assert error.fix.startswith("export it again with")


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x08\x09\x12"])
def test_a_broken_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ann.onnx"
    path.write_bytes(content)
    error = refused(path)
    assert (error.code, error.where) == ("ND103", str(path))


def test_a_truncated_file(tmp_path: Path) -> None:
    path = small_onnx(tmp_path / "ann.onnx", gemm(1))
    whole = path.read_bytes()
    for size in range(1, len(whole), 37):
        path.write_bytes(whole[:size])
        assert refused(path).code in ("ND103", "ND102")


def test_a_graph_that_onnx_runtime_refuses(tmp_path: Path) -> None:
    odd = then(gemm(1), helper.make_node("Identity", ["nothing"], ["other"]))
    assert "ONNX Runtime cannot load it" in refused(small_onnx(tmp_path / "ann.onnx", odd)).message


def test_onnx_of_another_width_or_image(tmp_path: Path) -> None:
    path = small_onnx(tmp_path / "ann.onnx", gemm(1))
    error = refused(path, student(str(path)), feature_size=512)
    assert (error.code, error.where) == ("ND102", "loss.laf.teacher")
    assert "takes 6 features" in error.message
    assert "takes 512" in error.message
    teacher = load(path)
    for shape in ((2, 3, 8, 8), (2, 1, 9, 8), (2, 4, 1, 8, 8), (2, 64)):
        with pytest.raises(UsageError, match=r"takes \(any, 1, 8, 8\)") as caught:
            teacher(torch.zeros(shape))
        assert caught.value.code == "ND102"


def test_a_batch_that_the_graph_cannot_take(tmp_path: Path) -> None:
    # The input axis says "any", but a Reshape inside was traced for a batch of 4.
    nodes = [
        helper.make_node("Reshape", ["feature", "shape"], ["flat"]),
        helper.make_node("Gemm", ["flat", "W", "b"], ["logits"], transB=1),
    ]
    path = small_onnx(tmp_path / "ann.onnx", (nodes, {**gemm(1)[1], "shape": np.array([4, F])}))
    teacher = load(path)
    assert_is_the_net(teacher, torch.randn(4, 1, 8, 8))
    with pytest.raises(UsageError, match="cannot run it on a batch of shape") as caught:
        teacher(torch.randn(3, 1, 8, 8))
    assert "dynamic" in caught.value.fix
