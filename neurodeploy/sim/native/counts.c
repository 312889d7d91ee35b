/* How many accumulates the spikes of an image trigger.
 *
 * What an event triggers depends on its channel and on how much of a kernel lies over its pixel. Neighboring pixels with
 * the same fan-out are added up channel by channel, 255 at most in a byte, before anything is multiplied.
 */
#include "common.h"

struct fan_out {
    int64_t pixels, channels;
    int64_t most;           /* runs of pixels whose products 32 bits hold */
    const int32_t *kinds;   /* [pixel]: which fan-out it has */
    const int32_t *every;   /* [kind]: accumulates that an event triggers */
    const int32_t *nonzero; /* [kind][channel]: those with a weight that is not 0; a vector more at the end */
};

struct sums {
    ints_t every, nonzero;
};

/* Pixels `at` and on, `step` bytes apart, `size` bytes each, 64 at most; the compiler knows how many where it matters. */
INLINE void add_run(const uint8_t *at, int64_t pixels, int64_t step, int64_t size, int32_t every, const int32_t *nonzero,
                    struct sums *sums) {
    uint8_t total[64] __attribute__((aligned(64))) = {0};
    for (int64_t p = 0; p < pixels; p++, at += step)
        for (int64_t i = 0; i < size; i++) total[i] += at[i];
    for (int64_t i = 0; i < size; i += LANES32) {
        const ints_t found = widen_bytes(total + i);
        sums->every += found * every;
        sums->nonzero += found * *(const ints_any *)(nonzero + i);
    }
}

INLINE int64_t all_lanes(ints_t *sums) {
    int64_t all = 0;
    for (int i = 0; i < LANES32; i++) all += (*sums)[i];
    *sums = (ints_t){0};
    return all;
}

INLINE void move(struct sums *sums, int64_t *sop, int64_t *sop_nonzero) {
    *sop += all_lanes(&sums->every);
    *sop_nonzero += all_lanes(&sums->nonzero);
}

/* Adds accumulates of spikes `*s` (images, pixels, channels) to `sop` and `sop_nonzero`, a number a step of `per_step`
 * images each (null: nothing). Returns the number of accumulates. */
EXPORT int64_t nd_count_events(const struct fan_out *op, void *const *s, int64_t images, int64_t per_step, int64_t *sop,
                               int64_t *sop_nonzero) {
    const uint8_t *image = *s;
    const int64_t channels = op->channels;
    int64_t operations = 0;
    for (int64_t n = 0; n < images; n++, image += op->pixels * channels) {
        struct sums sums = {{0}, {0}};
        int64_t all = 0, nonzero = 0, runs = 0;
        for (int64_t p = 0, last; p < op->pixels; p = last) {
            const int32_t kind = op->kinds[p], every = op->every[kind];
            const int32_t *table = op->nonzero + kind * channels;
            for (last = p + 1; last < op->pixels && last - p < 255 && op->kinds[last] == kind;) last++;
            for (int64_t c = 0; c < channels; c += 64) {
                const uint8_t *at = image + p * channels + c;
                if (channels - c >= 64) add_run(at, last - p, channels, 64, every, table + c, &sums);
                else if (channels - c == 32) add_run(at, last - p, channels, 32, every, table + c, &sums);
                else if (channels - c == 16) add_run(at, last - p, channels, 16, every, table + c, &sums);
                else add_run(at, last - p, channels, channels - c, every, table + c, &sums);
                if (++runs == op->most) move(&sums, &all, &nonzero), runs = 0;
            }
        }
        move(&sums, &all, &nonzero);
        operations += all;
        if (sop) {
            sop[n / per_step] += all;
            sop_nonzero[n / per_step] += nonzero;
        }
    }
    return operations;
}
