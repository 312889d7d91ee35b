"""The optimizer of a recipe, and its learning rate by epoch."""

from __future__ import annotations

import math

import torch
from torch import nn

from neurodeploy.config.recipe import Recipe


def make_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum, Adam or AdamW; with ``train.decay = "weights"`` norms and biases do not decay.

    ``weights`` are the parameters of two or more axes, those of convolutions and linear layers.
    """
    settings = recipe.train
    parameters = list(model.parameters())
    groups = [{"params": parameters, "weight_decay": settings.weight_decay}]
    if settings.decay == "weights":
        weights = [parameter for parameter in parameters if parameter.dim() > 1]
        others = [parameter for parameter in parameters if parameter.dim() <= 1]
        groups = [
            {"params": weights, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, settings.lr, settings.momentum)
    adam = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return adam(groups, settings.lr)


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Rate of an epoch n = 1 … N.

    ``cosine``: lr·(1 + cos(π(n − 1)/N))/2, lr in the first, 0 only after the last. ``step``: lr/10 once half of the
    epochs are done, lr/100 after three quarters. ``constant``: lr.
    """
    lr, done = recipe.train.lr, (epoch - 1) / recipe.train.epochs
    if recipe.train.schedule == "cosine":
        return lr * (1 + math.cos(math.pi * done)) / 2
    if recipe.train.schedule == "step":
        return lr / (100 if done >= 0.75 else 10 if done >= 0.5 else 1)
    return lr
