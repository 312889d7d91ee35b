"""Exact counts times sourced prices, with the provenance of every number.

Per inference, in pJ, for counts ``N`` of the emitted graph (summed over its layers) and prices ``e`` of a profile::

    E_dynamic = N_sop e_sop + N_graded e_graded + N_mac e_mac
              + N_active e_active + N_idle e_idle + N_spikes e_out + N_messages e_msg
              + N_hops_x e_hop_x + N_hops_y e_hop_y + N_accesses e_mem + N_offchip e_off
    E_static  = P_static · T · dt · chips

Every term is priced alone and carries value, unit, basis, confidence and source. What cannot be priced is listed as
UNPRICED, and the total is then a lower bound (printed ``≥``); nothing is priced by guess and nothing is dropped.

Which terms may be added is the profile's ``scope``:

====================================== ======== ======== ======
cost                                   per_term marginal all_in
====================================== ======== ======== ======
sop, sop_graded, mac (disjoint events) yes      yes      yes
neuron, spike, message and hop terms   yes      inside   inside
memory accesses, messages off the chip yes      inside   inside
static power x time                    yes      yes      inside
====================================== ======== ======== ======

In every scope a price marked ``inside`` is not charged a second time. ``sop_graded`` and ``mac`` replace ``sop`` for
the events they count, so adding them charges no event twice.

The host's part (a first layer on pixels) is work too, but not the chip's: it is reported apart, and priced only where
the profile has a price for a multiply-accumulate; it never enters the chip's total.

The low end of a range adds the low ends, the high end the high ends: the prices of one chip err together, so their
errors are not assumed to cancel. A range speaks of the prices only; the counts are exact.

Beside it: ``baseline`` (the ANN of the same topology), ``break_even`` (the firing rate at which the spiking network
stops winning), ``comparison`` (ratios, refused or marked across chips), ``mesh`` (hops from a placement).
"""

from neurodeploy.energy.baseline import AnnBaseline, AnnLine, ann_baseline
from neurodeploy.energy.break_even import Crossover, crossover
from neurodeploy.energy.comparison import Ratio, energy_ratio
from neurodeploy.energy.counts import Counted, Layer, counted, with_hops
from neurodeploy.energy.mesh import Mesh, count_hops, mesh_of
from neurodeploy.energy.model import ZERO, Amount, Estimate, HostWork, PriceTag, Static, Term, Unpriced
from neurodeploy.energy.pricing import estimate
from neurodeploy.energy.terms import EVENT_TERMS, TERMS
from neurodeploy.passes.dense_macs import DenseMacs, dense_macs

__all__ = [
    "EVENT_TERMS",
    "TERMS",
    "ZERO",
    "Amount",
    "AnnBaseline",
    "AnnLine",
    "Counted",
    "Crossover",
    "DenseMacs",
    "Estimate",
    "HostWork",
    "Layer",
    "Mesh",
    "PriceTag",
    "Ratio",
    "Static",
    "Term",
    "Unpriced",
    "ann_baseline",
    "count_hops",
    "counted",
    "crossover",
    "dense_macs",
    "energy_ratio",
    "estimate",
    "mesh_of",
    "with_hops",
]
