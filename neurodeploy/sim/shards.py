"""Several processes under ``torchrun``: who is who, which samples are whose, and how they stop together.

Each process takes a contiguous part of the samples. They meet at the ends of stages only (:meth:`Shards.meet`), so the
fast ones wait once; between slabs each looks whether another has failed. Gloo, so it works over machines. PyTorch is
imported only where there is more than one process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from neurodeploy.diagnostics import Finding, NeurodeployError, UnsupportedError, UsageError, VerificationError

T = TypeVar("T")

#: How long the first to finish waits for the last.
PATIENCE = timedelta(days=30)
#: How long a process that failed waits for the first one to say so; torchrun ends all when one has ended.
SAYING = timedelta(seconds=20)
FAILED, SAID = "neurodeploy/failed", "neurodeploy/said"


class OtherProcessFailed(Exception):
    """This process ends because of an error that the first process tells.

    Attributes:
        exit_code: To end with.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


@dataclass(frozen=True)
class Shards:
    """The processes of a run; ``Shards()`` is one process alone.

    Attributes:
        rank: This process, 0 … size - 1; rank 0 speaks and writes the files.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1
    _store: Any = None

    @property
    def main(self) -> bool:
        """Whether this process speaks."""
        return self.rank == 0

    def part(self, samples: int) -> tuple[int, int]:
        """This process's samples: from, to (exclusive); sizes differ by one at most."""
        each, over = divmod(samples, self.size)
        first = self.rank * each + min(self.rank, over)
        return first, first + each + (self.rank < over)

    def meet(self, work: Callable[[], T]) -> list[T]:
        """Do ``work``, wait until all have done theirs, and return the results of all, by rank.

        Raises:
            NeurodeployError: What one of them raised, the lowest rank first: the same in every process.
            UsageError: Another process failed with something else (ND131).
        """
        if self.size == 1:
            return [work()]
        result, failure = None, None
        try:
            result = work()
        except Stopped:
            pass  # the error comes from the process that has it
        except Exception as error:
            self._store.set(FAILED, str(self.rank))
            failure = error
        told = {"result": result, "error": _told(failure, self.rank)}
        everyone = self._gathered(told)
        errors = [one["error"] for one in everyone if one["error"] is not None]
        if errors:
            if failure is not None and not isinstance(failure, NeurodeployError):
                raise failure  # a bug says where it is
            raise _heard(errors[0])
        return [one["result"] for one in everyone]

    def each(self, work: Callable[[], T]) -> T:
        """:meth:`meet` for results that stay in their process."""
        own: list[T] = []
        self.meet(lambda: own.append(work()))
        return own[0]

    def _exchange(self, value: Any) -> list[Any]:
        from torch import distributed as dist

        everyone: list[Any] = [None] * self.size
        dist.all_gather_object(everyone, value)
        return everyone

    def _gathered(self, value: Any) -> list[Any]:
        try:
            return self._exchange(value)
        except RuntimeError as error:
            raise UsageError(
                "ND131",
                f"another process has gone: {(str(error).splitlines() or [type(error).__name__])[0]}",
                where=f"process {self.rank}",
                fix="see why it ended; with --trace or --checkpoint the same command goes on from there",
            ) from error

    def look(self) -> None:
        """Stop this stage if another process has failed."""
        if self.size > 1 and self._store.check([FAILED]):
            raise Stopped

    def failing(self) -> None:
        """Call before an error leaves: the first process says it, the others wait until it has."""
        if self.size == 1:
            return
        if self.main:
            atexit.register(self._store.set, SAID, "yes")
            return
        try:
            self._store.wait([SAID], SAYING)
        except Exception:  # the store goes with the process that holds it
            return


class Stopped(Exception):
    """Another process has failed."""


@contextlib.contextmanager
def together() -> Iterator[Shards]:
    """The processes of this run; an error of one of them ends them all and is said once."""
    shards = _join()
    try:
        yield shards
    except NeurodeployError as error:
        shards.failing()
        if shards.main:
            raise
        raise OtherProcessFailed(error.exit_code) from error
    except Exception:
        shards.failing()
        raise
    finally:
        _leave()


def _join() -> Shards:
    """The processes that ``torchrun`` started (its environment variables), or this one alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Shards()
    from torch import distributed as dist
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(rendezvous("env://", timeout=timedelta(minutes=10)))
    dist.init_process_group("gloo", store=dist.PrefixStore("gloo", store), rank=rank, world_size=size, timeout=PATIENCE)
    return Shards(rank, size, store)


def _leave() -> None:
    """Close the connection to the other processes."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from torch import distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()


_KINDS: dict[str, type[NeurodeployError]] = {
    kind.__name__: kind for kind in (UsageError, UnsupportedError, VerificationError)
}


def _told(error: Exception | None, rank: int) -> dict[str, Any] | None:
    """An error as plain data."""
    if error is None:
        return None
    if not isinstance(error, NeurodeployError) or type(error).__name__ not in _KINDS:
        error = UsageError(
            "ND131",
            f"process {rank} failed: {type(error).__name__}: {error}",
            where=f"process {rank}",
            fix="see what that process wrote to standard error",
        )
    parts = {"code": error.code, "message": error.message, "where": error.where, "fix": error.fix}
    return {"kind": type(error).__name__, "findings": list(error.findings), **parts}


def _heard(told: dict[str, Any]) -> NeurodeployError:
    findings: list[Finding] = told["findings"]
    return _KINDS[told["kind"]](told["code"], told["message"], where=told["where"], fix=told["fix"], findings=findings)
