"""Datasets as NumPy arrays, one file per family; no torch here.

``load`` gives a split, ``names`` what is built, ``describe`` what a dataset is without reading it.
"""

from neurodeploy.data.dataset import Dataset, DatasetInfo, describe, load, names

__all__ = ["Dataset", "DatasetInfo", "describe", "load", "names"]
