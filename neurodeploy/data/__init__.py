"""Datasets as NumPy arrays, one file per family; importing this needs neither torch nor torchvision.

``names`` lists what can be loaded, ``describe`` says what a dataset is without reading it, ``load`` gives a split.
Nothing downloads unless it is asked to.
"""

from neurodeploy.data.catalog import DatasetInfo, describe, names
from neurodeploy.data.dataset import Dataset
from neurodeploy.data.loading import load

__all__ = ["Dataset", "DatasetInfo", "describe", "load", "names"]
