"""Numba with the inner loop written in LLVM's own language: the sums are vectors in registers.

Numba has no vector type, so the loop over the events of one kernel row, and the loop over kernel rows around it, are
built instruction by instruction, with the sums in phi nodes. Everything is at module level: kernels made by a factory
would never be found in Numba's cache by the next process.
"""

from __future__ import annotations

from layer import BLOCK, KERNEL, PADDING
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

LANES = 32  # <32 x i16>: one register of AVX-512; the compiler takes two where registers are smaller
VECTORS = BLOCK // LANES


@intrinsic
def add_window(typingctx, starts, events, weight, out, ky, end_ky, pitch, depth, left, right, shift):  # type: ignore[no-untyped-def]
    """``out[:64]`` = the sum, over kernel rows ``ky … end_ky``, of the weight rows of the events in columns ``left …
    right``.

    The first four are addresses: of ``starts`` in the first input row (``pitch`` numbers to the next), of all events,
    of the weights of kernel row ``ky`` (``depth`` rows to the next), of the result.
    """
    signature = types.void(*(types.intp,) * 11)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        starts, events, weight, out, first_ky, end_ky, pitch, depth, left, right, shift = arguments
        i16, i32, i64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
        vector, wide = ir.VectorType(i16, LANES), ir.VectorType(i32, LANES)
        one, size = i64(1), i64(BLOCK * 2)
        starts = builder.inttoptr(starts, i32.as_pointer())
        events = builder.inttoptr(events, i32.as_pointer())
        entry = builder.block
        rows = builder.append_basic_block("rows")
        row = builder.append_basic_block("row")
        loop = builder.append_basic_block("events")
        row_end = builder.append_basic_block("row_end")
        done = builder.append_basic_block("done")
        zeros = [ir.Constant(vector, [0] * LANES)] * VECTORS
        builder.branch(rows)

        builder.position_at_end(rows)  # the loop over kernel rows
        ky, here, weights = builder.phi(i64), builder.phi(i64), builder.phi(i64)
        sums = [builder.phi(vector) for _ in range(VECTORS)]
        for phi, value in zip((ky, here, weights, *sums), (first_ky, i64(0), weight, *zeros), strict=True):
            phi.add_incoming(value, entry)
        builder.cbranch(builder.icmp_signed("<", ky, end_ky), row, done)

        builder.position_at_end(row)
        begin, end = (
            builder.sext(builder.load(builder.gep(starts, [builder.add(here, column)])), i64)
            for column in (left, right)
        )
        origin = builder.sub(weights, builder.mul(shift, size))
        builder.cbranch(builder.icmp_signed("<", begin, end), loop, row_end)

        builder.position_at_end(loop)  # the loop over events
        index = builder.phi(i64)
        inner = [builder.phi(vector) for _ in range(VECTORS)]
        event = builder.sext(builder.load(builder.gep(events, [index])), i64)
        address = builder.inttoptr(builder.add(origin, builder.mul(event, size)), vector.as_pointer())
        added = []
        for v, phi in enumerate(inner):
            load = builder.load(builder.gep(address, [i64(v)]))
            load.align = LANES * 2
            added.append(builder.add(phi, load))
        following = builder.add(index, one)
        for phi, before, after in zip((index, *inner), (begin, *sums), (following, *added), strict=True):
            phi.add_incoming(before, row)
            phi.add_incoming(after, loop)
        builder.cbranch(builder.icmp_signed("<", following, end), loop, row_end)

        builder.position_at_end(row_end)
        merged = [builder.phi(vector) for _ in range(VECTORS)]
        for phi, before, after in zip(merged, sums, added, strict=True):
            phi.add_incoming(before, row)
            phi.add_incoming(after, loop)
        below = builder.add(weights, builder.mul(depth, size))
        nexts = (builder.add(ky, one), builder.add(here, pitch), below, *merged)
        for phi, value in zip((ky, here, weights, *sums), nexts, strict=True):
            phi.add_incoming(value, row_end)
        builder.branch(rows)

        builder.position_at_end(done)
        target = builder.inttoptr(out, wide.as_pointer())
        for v, total in enumerate(sums):
            store = builder.store(builder.sext(total, wide), builder.gep(target, [i64(v)]))
            store.align = 4
        return context.get_dummy_value()

    return signature, generate


@njit(cache=True, nogil=True)
def add_events(starts, events, weight, out):  # type: ignore[no-untyped-def]
    """``out[n, oy, ox]`` = the sum of the weight rows of all events in its window."""
    steps, height, width, _ = out.shape
    depth = weight.shape[2]
    channels = depth // KERNEL
    for block in range(weight.shape[0]):
        for n in range(steps):
            for oy in range(height):
                ky, end_ky = max(0, PADDING - oy), min(KERNEL, height + PADDING - oy)
                first = starts[n, oy + ky - PADDING].ctypes.data
                rows = weight[block, ky].ctypes.data
                for ox in range(width):
                    left, right = max(ox - PADDING, 0), min(ox - PADDING + KERNEL, width)
                    place = out[n, oy, ox, block * BLOCK :].ctypes.data
                    shift = (ox - PADDING) * channels
                    add_window(first, events.ctypes.data, rows, place, ky, end_ky, width + 1, depth, left, right, shift)
