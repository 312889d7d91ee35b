"""Augmentation of training samples: pure functions on raw batches, and the recipes of them that ``data.augment`` names.

In the order of the papers' code: random crop, horizontal flip, AutoAugment, Cutout, then normalization. Cutout's zeros
come before normalization there, so they are zeros of raw pixels and are written here.

Shape legend: B batch, C channels (frames of one sample are laid along C, so all of them get the same), H, W.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.data.draws import Draws
from neurodeploy.diagnostics import UsageError, nearest

#: Which random number decides what; a number of its own for each, so that one choice never moves another.
CROP_TOP, CROP_LEFT, FLIP, HOLE_Y, HOLE_X, ROLL_Y, ROLL_X, POLICY = range(8)
POLICY_CHANCE, POLICY_SIGN, BOX = (8, 9), (10, 11), 16

#: Pixels of the events' roll, to both sides (the authors' ``data/cifar_dvs.py``).
ROLL = 5
#: What a shear, rotation or shift leaves empty: gray, as the ``CIFAR10Policy`` of the papers' code; torchvision: black.
FILL = 128

NAMES = ("none", "crop-flip", "cifar10-policy", "roll-flip", "resized-crop-flip")


def augmented(x_BCHW: np.ndarray, name: str, draws: Draws) -> np.ndarray:
    """A batch augmented as ``data.augment`` says.

    - ``crop-flip``: pad with zeros by an eighth of the side, crop at a random place, flip with probability 1/2.
    - ``cifar10-policy``: that, then AutoAugment's CIFAR-10 policy, then Cutout of half the side.
    - ``roll-flip``: flip with probability 1/2, roll by −5 … 5 pixels along both axes (cyclic).
    - ``resized-crop-flip``: flip; the resized crop was taken when the image was read.

    Raises:
        UsageError: ND101 for an unknown name, ND102 where the samples are no images.
    """
    if name == "none":
        return x_BCHW
    if name not in NAMES:
        raise UsageError("ND101", f"no such augmentation: {name}", where="data.augment", fix=nearest(name, NAMES))
    side = x_BCHW.shape[-1]
    if name in ("crop-flip", "cifar10-policy"):
        pad = side // 8
        top_B, left_B = draws.integers(CROP_TOP, 2 * pad + 1), draws.integers(CROP_LEFT, 2 * pad + 1)
        x_BCHW = crop(x_BCHW, top_B, left_B, pad)
    x_BCHW = flip(x_BCHW, draws.integers(FLIP, 2).astype(bool))
    if name == "roll-flip":
        x_BCHW = roll(x_BCHW, draws.integers(ROLL_Y, 2 * ROLL + 1) - ROLL, draws.integers(ROLL_X, 2 * ROLL + 1) - ROLL)
    if name == "cifar10-policy":
        x_BCHW = cifar10_policy(x_BCHW, draws)
        height = x_BCHW.shape[-2]
        x_BCHW = cutout(x_BCHW, draws.integers(HOLE_Y, height), draws.integers(HOLE_X, side), side // 2)
    return x_BCHW


def crop(x_BCHW: np.ndarray, top_B: np.ndarray, left_B: np.ndarray, pad: int) -> np.ndarray:
    """The window at ``top``, ``left`` of each image padded with zeros on all sides; same size as before."""
    height, width = x_BCHW.shape[-2:]
    padded = np.zeros((*x_BCHW.shape[:2], height + 2 * pad, width + 2 * pad), x_BCHW.dtype)
    padded[:, :, pad : pad + height, pad : pad + width] = x_BCHW
    out = np.empty_like(x_BCHW)
    for image, (top, left) in enumerate(zip(top_B.tolist(), left_B.tolist(), strict=True)):
        out[image] = padded[image, :, top : top + height, left : left + width]
    return out


def flip(x_BCHW: np.ndarray, which_B: np.ndarray) -> np.ndarray:
    """Left and right swapped, of the samples in ``which``."""
    out = x_BCHW.copy()
    out[which_B] = x_BCHW[which_B][..., ::-1]
    return out


def roll(x_BCHW: np.ndarray, down_B: np.ndarray, right_B: np.ndarray) -> np.ndarray:
    """Each sample shifted down and right; what leaves on one side enters on the other."""
    height, width = x_BCHW.shape[-2:]
    tall, wide = int(np.abs(down_B).max(initial=0)), int(np.abs(right_B).max(initial=0))
    wrapped = np.pad(x_BCHW, ((0, 0), (0, 0), (tall, tall), (wide, wide)), mode="wrap")
    out = np.empty_like(x_BCHW)
    for sample, (top, left) in enumerate(zip((tall - down_B).tolist(), (wide - right_B).tolist(), strict=True)):
        out[sample] = wrapped[sample, :, top : top + height, left : left + width]
    return out


def cutout(x_BCHW: np.ndarray, y_B: np.ndarray, x_B: np.ndarray, length: int) -> np.ndarray:
    """One square of zeros in each image, around the pixel (y, x); where it leaves the image it is smaller.

    DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017.
    """
    out, half = x_BCHW.copy(), length // 2
    for image, (y, x) in enumerate(zip(y_B.tolist(), x_B.tolist(), strict=True)):
        out[image, :, max(y - half, 0) : y + half, max(x - half, 0) : x + half] = 0
    return out


def cifar10_policy(x_BCHW: np.ndarray, draws: Draws) -> np.ndarray:
    """AutoAugment's CIFAR-10 policy on uint8 images of 1 or 3 channels (Cubuk et al., CVPR 2019), by torchvision.

    torchvision draws from torch's global generator; here the same three choices (sub-policy, chances, signs) come from
    ``draws``, so a worker thread neither disturbs the run's generator nor is disturbed by it.
    """
    from PIL import Image

    channels = x_BCHW.shape[1]
    if channels not in (1, 3) or x_BCHW.dtype != np.uint8:
        raise UsageError(
            "ND102",
            f"cifar10-policy is for images of 1 or 3 channels, these samples have {channels}",
            where="data.augment",
            fix="roll-flip for events",
        )
    policy = _policy()
    chosen_B = draws.integers(POLICY, len(policy.policies)).tolist()
    chance_B2 = np.stack([draws.uniform(slot) for slot in POLICY_CHANCE], axis=1)
    sign_B2 = np.stack([draws.integers(slot, 2) for slot in POLICY_SIGN], axis=1)
    out = np.empty_like(x_BCHW)
    for index, image in enumerate(x_BCHW):
        pixels = image[0] if channels == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
        policy.get_params = lambda _, i=index: (chosen_B[i], chance_B2[i], sign_B2[i])
        done = np.asarray(policy(Image.fromarray(pixels)))
        out[index] = done[None] if channels == 1 else done.transpose(2, 0, 1)
    return out


def _policy() -> Any:
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    return AutoAugment(AutoAugmentPolicy.CIFAR10, fill=FILL)


def resized_crop_boxes(
    sizes_B2: np.ndarray,
    draws: Draws,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    attempts: int = 10,
) -> np.ndarray:
    """Boxes (top, left, height, width) of torchvision's ``RandomResizedCrop``, int64 ``(B, 4)``.

    An area uniform in ``scale`` of the image's, an aspect ratio log-uniform in ``ratio``, ten attempts to fit, then the
    largest central box within ``ratio``.
    """
    heights, widths = sizes_B2.astype(np.int64).T
    boxes = _central_boxes(heights, widths, ratio)
    open_B = np.ones(len(heights), bool)
    for attempt in range(attempts):
        area = heights * widths * (scale[0] + (scale[1] - scale[0]) * draws.uniform(BOX + 4 * attempt))
        log_low, log_high = np.log(ratio[0]), np.log(ratio[1])
        aspect = np.exp(log_low + (log_high - log_low) * draws.uniform(BOX + 4 * attempt + 1))
        width = np.rint(np.sqrt(area * aspect)).astype(np.int64)
        height = np.rint(np.sqrt(area / aspect)).astype(np.int64)
        fits = open_B & (width > 0) & (width <= widths) & (height > 0) & (height <= heights)
        top = (draws.uniform(BOX + 4 * attempt + 2) * (heights - height + 1)).astype(np.int64)
        left = (draws.uniform(BOX + 4 * attempt + 3) * (widths - width + 1)).astype(np.int64)
        boxes[fits] = np.stack([top, left, height, width], axis=1)[fits]
        open_B &= ~fits
    return boxes


def _central_boxes(heights: np.ndarray, widths: np.ndarray, ratio: tuple[float, float]) -> np.ndarray:
    height = np.where(widths < ratio[0] * heights, np.rint(widths / ratio[0]).astype(np.int64), heights)
    width = np.where(widths > ratio[1] * heights, np.rint(heights * ratio[1]).astype(np.int64), widths)
    return np.stack([(heights - height) // 2, (widths - width) // 2, height, width], axis=1)
