"""When a layer adds up densely: from the events that came, and from what both ways cost in this very run.

Both give the same integers, so the choice changes time and nothing else. A benchmark before the run would find weights
and spikes in the cache where the run does not; so the run itself is measured. Each way has a static cost, nanoseconds
on a typical machine (the constants below), and a correction, measured time over static cost: that of its fastest call
so far, as other programs only ever make a call slower. A way that was not taken twice (the first time touches new
memory) is expected to do as well as its static cost, or as the other way does, whichever is better: so a disappointment
leads to a try. Where a way could be less than four times as slow as the other, it is tried again at the layer's calls
2, 4, 8, …: a way that had bad luck once is not given up for good, and n calls contain no more than log₂ n such trials.
"""

from __future__ import annotations

from math import prod

from neurodeploy.sim.dense import DenseSums, setting

#: Nanoseconds of an accumulate, with few weights and with more than a cache holds; of an input looked at for events; of
#: an output, whose window is looked up.
_ACCUMULATE, _FAR_ACCUMULATE, _LOOK, _OUTPUT = 1 / 55, 1 / 28, 0.05, 1.0
_FAR = 1 << 19  # weights
#: Nanoseconds of a dense product with and without a matrix unit, of a byte copied or written, of a weight fetched.
_PRODUCT = {True: 1 / 1000, False: 1 / 250}
_BYTE, _WEIGHT = 0.1, 0.07
_CALL = 3000.0
_TRY_BELOW = 4.0
_BELIEVED = 2  # calls after which a measurement counts


class DenseChoice:
    """The choice of one layer. Threads may share it: a lost update costs a little knowledge.

    Args:
        sums: The layer's dense sums.
        inputs: Numbers of an image that enters.
        outputs: Shape of an image that leaves.
    """

    def __init__(self, sums: DenseSums, inputs: int, outputs: tuple[int, ...]) -> None:
        self._always = setting() == "always"
        self._accumulate = _FAR_ACCUMULATE if sums.weights > _FAR else _ACCUMULATE
        self._image = _LOOK * inputs + _OUTPUT * prod(outputs)
        self._dense_image = sums.work * _PRODUCT[bool(sums.numbers["amx"])] + sums.moved * _BYTE
        self._dense_call = _CALL + sums.weights * _WEIGHT
        self._sums = sums
        self._calls = 0
        self._seen = [0, 0]  # calls, of the events and of the dense sums
        self._best = [1.0, 1.0]  # smallest measured corrections
        self._corrections = [1.0, 1.0]  # those believed in

    def wins(self, operations: int, images: int) -> bool:
        """Whether the dense sums should run now; if so their weights are packed, which is no part of what they cost.

        Args:
            operations: Accumulates that the events of this call trigger.
            images: Images of this call, timesteps x samples.
        """
        dense = self._always or self._judged(operations, images)
        if dense:
            self._sums.pack()
        return dense

    def settled(self, operations: int, images: int) -> bool:
        """:meth:`wins` without a trial: what many tiles will do from now on."""
        events, dense = self._static(operations, images)
        of_events, of_dense = self._corrections
        wins = self._always or dense * of_dense < events * of_events
        if wins:
            self._sums.pack()
        return wins

    def took(self, dense: bool, operations: int, images: int, nanoseconds: int) -> None:
        """Tell what a call cost, of the way that was taken."""
        correction = nanoseconds / self._static(operations, images)[dense]
        best, seen = self._best, self._seen
        best[dense] = min(best[dense], correction) if seen[dense] else correction
        seen[dense] += 1
        self._corrections = [
            best[way] if seen[way] >= _BELIEVED else min(1.0, best[1 - way] if seen[1 - way] else 1.0) for way in (0, 1)
        ]

    def _judged(self, operations: int, images: int) -> bool:
        self._calls += 1
        events, dense = self._static(operations, images)
        of_events, of_dense = self._corrections
        events, dense = events * of_events, dense * of_dense
        if self._calls & (self._calls - 1) == 0 and self._calls > 1 and 1 / _TRY_BELOW < events / dense < _TRY_BELOW:
            return dense >= events
        return dense < events

    def _static(self, operations: int, images: int) -> tuple[float, float]:
        return (
            _CALL + operations * self._accumulate + images * self._image,
            self._dense_call + images * self._dense_image,
        )
