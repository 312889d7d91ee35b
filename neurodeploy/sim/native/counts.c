/* How many accumulates the spikes of an image trigger.
 *
 * What an event triggers depends on its channel and on how much of a kernel lies over its pixel: at the borders less. Most
 * rows are alike, so alike rows are added up byte by byte, 255 at most, before anything is multiplied.
 */
#include "common.h"

#define PART 4096 /* bytes of a row that are looked at together: their sums stay in the cache near the core */

struct fan_out {
    int64_t rows, size;     /* of an image; bytes of a row, all columns and channels */
    int64_t groups;         /* of consecutive rows that are alike */
    const int64_t *count;   /* [group]: rows */
    const int32_t *every;   /* [group][byte]: accumulates that an event triggers; a vector more at the end */
    const int32_t *nonzero; /* the same of those with a weight that is not 0 */
};

INLINE int64_t all_lanes(ints_t sums) {
    int64_t all = 0;
    for (int i = 0; i < LANES32; i++) all += sums[i];
    return all;
}

/* Sums of `rows` rows, 255 at most, of `size` bytes, `step` bytes apart. */
INLINE void add_rows(const uint8_t *s, int64_t rows, int64_t step, int64_t size, uint8_t *sums) {
    memcpy(sums, s, (size_t)size);
    for (int64_t y = 1; y < rows; y++) {
        s += step;
        int64_t i = 0;
        for (; i + VECTOR <= size; i += VECTOR) *(ubytes_t *)(sums + i) += *(const ubytes_any *)(s + i);
        for (; i < size; i++) sums[i] += s[i];
    }
}

/* Adds accumulates of spikes `*s` (images, rows, size) to `sop` and `sop_nonzero`, a number a step of `per_step` images each
 * (null: nothing). Returns the number of accumulates. */
EXPORT int64_t nd_count_events(const struct fan_out *op, void *const *s, int64_t images, int64_t per_step, int64_t *sop,
                               int64_t *sop_nonzero) {
    uint8_t sums[PART + VECTOR] __attribute__((aligned(64)));
    const uint8_t *row = *s;
    int64_t operations = 0;
    for (int64_t n = 0; n < images; n++) {
        int64_t all = 0, nonzero = 0;
        for (int64_t g = 0; g < op->groups; g++)
            for (int64_t left = op->count[g]; left > 0; left -= 255) {
                const int64_t rows = left < 255 ? left : 255;
                for (int64_t part = 0; part < op->size; part += PART) {
                    const int64_t size = op->size - part < PART ? op->size - part : PART;
                    const int32_t *every = op->every + g * op->size + part, *others = op->nonzero + g * op->size + part;
                    add_rows(row + part, rows, op->size, size, sums);
                    memset(sums + size, 0, VECTOR);
                    ints_t of_all = {0}, of_nonzero = {0};
                    for (int64_t i = 0; i < size; i += LANES32) {
                        const ints_t events = widen_bytes(sums + i);
                        of_all += events * *(const ints_any *)(every + i);
                        of_nonzero += events * *(const ints_any *)(others + i);
                    }
                    all += all_lanes(of_all);
                    nonzero += all_lanes(of_nonzero);
                }
                row += rows * op->size;
            }
        operations += all;
        if (sop) {
            sop[n / per_step] += all;
            sop_nonzero[n / per_step] += nonzero;
        }
    }
    return operations;
}
