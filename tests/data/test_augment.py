"""Augmentation: each function on arrays small enough to see, then what a batch promises."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

from neurodeploy.data import augment
from neurodeploy.data.augment import augmented, crop, cutout, flip, resized_crop_boxes, roll
from neurodeploy.data.dataset import Scale, from_arrays
from neurodeploy.data.draws import Draws
from neurodeploy.diagnostics import UsageError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 3, 32, 32), np.uint8)
EVENTS = RNG.integers(0, 2, (40, 4, 2, 12, 12)).astype(np.uint8)


def one(*rows: list[int]) -> np.ndarray:
    return np.array([[rows]], np.uint8)


A = one([1, 2, 3], [4, 5, 6], [7, 8, 9])


def at(*numbers: int) -> np.ndarray:
    return np.array(numbers)


def test_crop_by_hand() -> None:
    """Padded by one pixel; the window at (0, 0) sees the image one down and one right, at (1, 1) itself."""
    assert (crop(A, at(0), at(0), 1) == one([0, 0, 0], [0, 1, 2], [0, 4, 5])).all()
    assert (crop(A, at(1), at(1), 1) == A).all()
    assert (crop(A, at(2), at(1), 1) == one([4, 5, 6], [7, 8, 9], [0, 0, 0])).all()


def test_flip_by_hand() -> None:
    both = np.concatenate([A, A])
    assert (flip(both, np.array([True, False])) == np.concatenate([one([3, 2, 1], [6, 5, 4], [9, 8, 7]), A])).all()


def test_roll_by_hand_and_like_numpy() -> None:
    assert (roll(A, at(1), at(0)) == one([7, 8, 9], [1, 2, 3], [4, 5, 6])).all()
    assert (roll(A, at(0), at(-1)) == one([2, 3, 1], [5, 6, 4], [8, 9, 7])).all()
    down, right = RNG.integers(-5, 6, 40), RNG.integers(-5, 6, 40)
    expected = np.stack([np.roll(x, (d, r), (-2, -1)) for x, d, r in zip(IMAGES, down, right, strict=True)])
    assert (roll(IMAGES, down, right) == expected).all()


def test_cutout_by_hand() -> None:
    """A hole of 2 around (1, 1) takes rows and columns 0 and 1; around (0, 2) what is left of it inside."""
    assert (cutout(A, at(1), at(1), 2) == one([0, 0, 3], [0, 0, 6], [7, 8, 9])).all()
    assert (cutout(A, at(0), at(2), 2) == one([1, 0, 0], [4, 5, 6], [7, 8, 9])).all()
    ones = np.ones((1, 3, 32, 32), np.uint8)
    assert cutout(ones, at(16), at(16), 16).sum() == 3 * (32 * 32 - 16 * 16)
    assert cutout(ones, at(0), at(0), 16).sum() == 3 * (32 * 32 - 8 * 8)
    assert A.ravel().tolist() == list(range(1, 10))  # none of these writes into what it was given


@pytest.mark.parametrize("name", ["crop-flip", "cifar10-policy", "roll-flip"])
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    dataset = from_arrays("made-up", "train", IMAGES, np.zeros(40), 2, scale=Scale((0.5,) * 3, (0.2,) * 3))
    whole = dataset.batch(np.arange(40), augment=name, seed=1, epoch=4)
    order = RNG.permutation(40)
    split = [dataset.batch(part, augment=name, seed=1, epoch=4) for part in np.array_split(order, 7)]
    assert np.concatenate(split).tobytes() == whole[order].tobytes()
    assert (whole != dataset.batch(np.arange(40), augment=name, seed=1, epoch=5)).any(axis=(1, 2, 3)).mean() > 0.9
    assert (whole != dataset.batch(np.arange(40), augment=name, seed=2, epoch=4)).any(axis=(1, 2, 3)).mean() > 0.9
    assert (whole.dtype, whole.shape, whole.flags.c_contiguous) == (np.float32, (40, 3, 32, 32), True)


def test_another_process_draws_the_same() -> None:
    code = (
        "import hashlib, numpy as np\n"
        "from neurodeploy.data.augment import augmented\n"
        "from neurodeploy.data.draws import Draws\n"
        "x = np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32), np.uint8)\n"
        "print(hashlib.sha256(augmented(x, 'crop-flip', Draws(1, 4, np.arange(40))).tobytes()).hexdigest())"
    )
    run = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    here = hashlib.sha256(augmented(IMAGES, "crop-flip", Draws(1, 4, np.arange(40))).tobytes()).hexdigest()
    assert {done.stdout.strip() for done in run} == {here}


def test_every_crop_place_and_both_sides_occur() -> None:
    """A single bright pixel tells where each of 4,000 images went: 9x9 places, flipped or not, evenly."""
    x = np.zeros((4000, 1, 32, 32), np.uint8)
    x[:, 0, 10, 5] = 255
    rows, columns = np.nonzero(augmented(x, "crop-flip", Draws(0, 1, np.arange(4000)))[:, 0].any(axis=0))
    assert (rows.min(), rows.max()) == (6, 14)
    assert set(columns) == {*range(1, 10), *range(31 - 9, 31)}
    flipped = augmented(x, "crop-flip", Draws(0, 1, np.arange(4000)))[:, 0, :, 16:].any(axis=(1, 2)).mean()
    assert abs(flipped - 0.5) < 0.04  # five standard errors of 4,000 coins


def test_frames_of_a_sample_move_together() -> None:
    """Every frame and polarity gets the same flip and roll; ones stay ones."""
    dataset = from_arrays("made-up", "train", np.repeat(EVENTS[:, :1, :1], 4, 1).repeat(2, 2), np.zeros(40), 2)
    x = dataset.batch(np.arange(40), augment="roll-flip", seed=0, epoch=1)
    assert x.shape == (40, 4, 2, 12, 12)
    assert (x == x[:, :1, :1]).all()
    assert set(np.unique(x)) == {0.0, 1.0}
    assert (x.sum(axis=(1, 2, 3, 4)) == dataset.x.sum(axis=(1, 2, 3, 4))).all()
    assert (x != dataset.x).any()


def test_cutout_is_zero_before_normalization() -> None:
    """As in the papers' code: ToTensor, Cutout, Normalize; a hole is −mean/std, not 0."""
    dataset = from_arrays("made-up", "train", IMAGES, np.zeros(40), 2, scale=Scale((0.5,) * 3, (0.25,) * 3))
    x = dataset.batch(np.arange(40), augment="cifar10-policy", seed=0, epoch=1)
    holes = (x == -2.0).all(axis=1).sum(axis=(1, 2))
    assert holes.min() >= 64  # a quarter of 16x16 remains even in a corner
    assert holes.max() >= 240


def test_policy_is_torchvisions_and_leaves_the_generator_alone(monkeypatch) -> None:
    """With its draws replaced by ours, torchvision's own AutoAugment gives the same images."""
    import torch
    from PIL import Image
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    draws = Draws(5, 6, np.arange(40))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    ours = augment.cifar10_policy(IMAGES, draws)
    assert torch.equal(before, torch.get_rng_state())
    changed = 0
    for index, image in enumerate(IMAGES):
        chosen = (
            int(draws.integers(augment.POLICY, 25)[index]),
            [float(draws.uniform(slot)[index]) for slot in augment.POLICY_CHANCE],
            [int(draws.integers(slot, 2)[index]) for slot in augment.POLICY_SIGN],
        )
        monkeypatch.setattr(AutoAugment, "get_params", staticmethod(lambda _, c=chosen: c))
        policy = AutoAugment(AutoAugmentPolicy.CIFAR10, fill=128)
        theirs = np.asarray(policy(Image.fromarray(image.transpose(1, 2, 0)))).transpose(2, 0, 1)
        assert (ours[index] == theirs).all()
        changed += bool((theirs != image).any())
    assert changed > 20
    gray = augment.cifar10_policy(IMAGES[:, :1], draws)
    assert gray.shape == (40, 1, 32, 32)


def test_resized_crops_are_distributed_like_torchvisions() -> None:
    """3,000 boxes of a 375x500 image, ours and theirs: inside, and with the same mean area, ratio and place."""
    import torch
    from torchvision.transforms import RandomResizedCrop

    ours = resized_crop_boxes(np.tile([375, 500], (3000, 1)), Draws(0, 1, np.arange(3000)))
    torch.manual_seed(0)
    image = torch.zeros(1, 375, 500)
    theirs = np.array([RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(3000)])
    statistics = []
    for top, left, height, width in (ours.T, theirs.T):
        assert (min(top), min(left)) == (0, 0)
        assert (top + height).max() <= 375
        assert (left + width).max() <= 500
        room_y, room_x = np.maximum(375 - height, 1), np.maximum(500 - width, 1)
        statistics.append([height * width / (375 * 500), np.log(width / height), top / room_y, left / room_x])
    for mine, reference in zip(*statistics, strict=True):
        # Four standard errors of a difference of two means of 3,000.
        assert abs(mine.mean() - reference.mean()) < 4 * np.sqrt(2 / 3000) * reference.std()
        assert mine.std() == pytest.approx(reference.std(), rel=0.1)


def test_an_image_of_no_ratio_gives_its_center() -> None:
    """10x1000 fits no ratio; the central box of ratio 4/3 is 10 high and 13 wide."""
    assert resized_crop_boxes(np.array([[10, 1000]]), Draws(0, 1, at(0))).tolist() == [[0, 493, 10, 13]]


def test_refusals() -> None:
    events = from_arrays("made-up", "train", EVENTS, np.zeros(40), 2)
    for name, match in (("cifar10-policy", "have 8"), ("resized-crop-flip", "image files"), ("mixup", "mixup")):
        with pytest.raises(UsageError, match=match) as caught:
            events.batch(np.arange(2), augment=name)
        assert caught.value.where == "data.augment"


def test_a_worker_gets_the_same_dataset() -> None:
    """A worker process is handed the dataset pickled."""
    dataset = from_arrays("made-up", "train", IMAGES, np.zeros(40), 2, scale=Scale((0.5,) * 3, (0.2,) * 3))
    copy = pickle.loads(pickle.dumps(dataset))
    asked = {"indices": np.arange(40), "augment": "crop-flip", "seed": 3, "epoch": 1}
    assert copy.batch(**asked).tobytes() == dataset.batch(**asked).tobytes()
