"""LAF: aligning the output feature through the teacher's classifier (EnOF-SNN, Guo et al., NeurIPS 2024), Eq. 2-3.

    P_s = W_a·h_s + b_a                                  the student's feature in the teacher's classifier
    L   = L_CE + λ·KL(softmax(P_a) ‖ softmax(P_s))      (Eq. 2-3)

Shape legend: T time, B batch, F features of the classifier's input, N classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: Temperature of each form, where a recipe names none.
TEMPERATURE = {"paper": 1.0, "code": 20.0}


def laf_loss(
    h_TBF: Tensor,
    p_a_BN: Tensor,
    weight_NF: Tensor,
    bias_N: Tensor,
    *,
    form: str = "paper",
    temperature: float = 1.0,
) -> Tensor:
    """KL(teacher ‖ student), summed over classes, averaged over the batch; zero where h_s gives the teacher's logits.

    The two forms differ in three things:

    ========================  ==============================  ===========================================
    ..                        ``paper`` (Alg. 1, step 8)      ``code`` (the group's MPBN code)
    ========================  ==============================  ===========================================
    feature                   of each step: mean of T KLs     averaged over time: one KL
    temperature τ             none, τ = 1                     20
    factor                    none                            τ², as usual in distillation
    ========================  ==============================  ===========================================

    At T = 1 and τ = 1 they are the same. As KL is convex in P_s, ``paper`` is at least ``code`` at τ = 1: it also asks
    the steps to agree. Any τ can be set in both forms; only ``code`` has the factor τ², which keeps the size of
    the gradient as τ grows (its limit is the squared error of the centered logits, halved and divided by N).

    Args:
        h_TBF: The student's feature h_s, what enters its own classifier.
        p_a_BN: The teacher's logits P_a, one for all steps.
        weight_NF: The teacher's classifier W_a.
        bias_N: Its bias b_a.
        form: ``paper`` or ``code``.
        temperature: τ, divides both logits.

    Returns:
        A scalar in the precision of ``weight_NF``, also under autocast. Its gradient goes to ``h_TBF`` alone.
    """
    with torch.autocast(h_TBF.device.type, enabled=False):
        h = h_TBF.to(weight_NF.dtype)
        if form == "code":
            h = h.mean(0, keepdim=True)
        p_s = functional.linear(h, weight_NF.detach(), bias_N.detach())
        log_s = functional.log_softmax(p_s / temperature, -1)
        log_a = functional.log_softmax(p_a_BN.detach().to(weight_NF.dtype) / temperature, -1)
        # Sum and division by hand: "mean" would divide by the number of classes too.
        kl = functional.kl_div(log_s, log_a.expand_as(log_s), reduction="sum", log_target=True) / log_s[..., 0].numel()
        return kl * temperature**2 if form == "code" else kl
