"""The 1,797 handwritten digits of 8x8 pixels that come with scikit-learn (UCI optdigits, its test part).

*Split*: images are ordered by class, then by their place in the file; every fifth of that order (positions 0, 5, 10 …)
is a test image. That gives 1,437 training and 360 test images with each class present in proportion, without a random
generator. The same writers occur in both parts.

*Scale*: ``(pixel/16 − MEAN) / STD`` with the mean and standard deviation over all pixels of the training images.
"""

from __future__ import annotations

import numpy as np

from neurodeploy.data.dataset import Dataset, Scale, from_arrays
from neurodeploy.diagnostics import UsageError
from neurodeploy.files import sha256_arrays

SHAPE = (1, 8, 8)
CLASSES = 10
SAMPLES = {"train": 1437, "test": 360}
#: Mean and population standard deviation of pixel/16 over the training images (a test recomputes them).
MEAN = 0.3057544472
STD = 0.3762168994
NOTE = "scikit-learn load_digits (UCI optdigits); every fifth image of each class is test; standardized"


#: In float64: these are the numbers that results were recorded with.
SCALE = Scale((MEAN,), (STD,), divisor=16.0, dtype="float64")


def read(split: str) -> Dataset:
    """A split, in file order. The digest is of the scaled samples, as in every run that is on record."""
    try:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
    except (ImportError, OSError) as error:
        raise UsageError(
            "ND106", f"the digits cannot be read: {error}", where="digits", fix="pip install scikit-learn"
        ) from error
    if images.shape != (1797, 64) or labels.shape != (1797,):
        raise UsageError(
            "ND106", f"scikit-learn's digits have shape {images.shape}, not (1797, 64)", where="digits",
            fix="reinstall scikit-learn",
        )  # fmt: skip
    is_test = np.zeros(len(labels), bool)
    is_test[np.argsort(labels, kind="stable")[::5]] = True
    chosen = is_test if split == "test" else ~is_test
    pixels, y = images[chosen].astype(np.uint8).reshape(-1, *SHAPE), labels[chosen].astype(np.int64)
    digest = sha256_arrays(SCALE(pixels), y)
    return from_arrays("digits", split, pixels, y, CLASSES, note=NOTE, scale=SCALE, sha256=digest)
