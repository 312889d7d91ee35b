/* Nodes between synapses and neurons, and the counts of what passes: images are (H, W, C), channels last.
 *
 * Arguments `void *const *`: see neurons.h.
 */
#include "common.h"

INLINE void *data(void *const *array) { return array ? *array : NULL; }

struct pool {
    int64_t height, width, channels, out_height, out_width;
    int64_t kernel[2], stride[2], padding[2];
    float divisor; /* float32: of an average; 1 where the sum is wanted */
};

/* The output columns that a kernel column reaches: first, and behind the last. */
INLINE void columns(const struct pool *p, int64_t kx, int64_t *first, int64_t *end) {
    int64_t before = p->padding[1] - kx, stride = p->stride[1];
    *first = before > 0 ? (before + stride - 1) / stride : 0;
    int64_t room = p->width - 1 + before; /* the largest ox·stride that still reads the image */
    *end = room < 0 ? 0 : room / stride + 1;
    if (*end > p->out_width) *end = p->out_width;
}

/* Taps in the order kernel row, kernel column, as in the interpreter. Padding adds nothing: sums begin at +0, and no
 * spike is below 0. */
#define POOL(NAME, IN, OUT, COMBINE, FINISH)                                                             \
    static void NAME(const struct pool *p, int64_t images, const IN *x, OUT *out) {                      \
        int64_t channels = p->channels, size = p->out_width * channels;                                  \
        for (int64_t n = 0; n < images; n++, x += p->height * p->width * channels) {                     \
            for (int64_t oy = 0; oy < p->out_height; oy++, out += size) {                                \
                memset(out, 0, size * sizeof(OUT));                                                      \
                for (int64_t ky = 0; ky < p->kernel[0]; ky++) {                                          \
                    int64_t y = oy * p->stride[0] + ky - p->padding[0], first, end;                      \
                    if (y < 0 || y >= p->height) continue;                                               \
                    for (int64_t kx = 0; kx < p->kernel[1]; kx++) {                                      \
                        columns(p, kx, &first, &end);                                                    \
                        const IN *row = x + (y * p->width + kx - p->padding[1]) * channels;              \
                        for (int64_t ox = first; ox < end; ox++) {                                       \
                            const IN *from = row + ox * p->stride[1] * channels;                         \
                            OUT *to = out + ox * channels;                                               \
                            for (int64_t c = 0; c < channels; c++) to[c] = to[c] COMBINE (OUT)from[c];   \
                        }                                                                                \
                    }                                                                                    \
                }                                                                                        \
                FINISH                                                                                   \
            }                                                                                            \
        }                                                                                                \
    }

#define AVERAGE \
    if (p->divisor != 1.0f) for (int64_t i = 0; i < size; i++) out[i] /= p->divisor;

POOL(largest_spike, uint8_t, uint8_t, |, )
POOL(sum_spikes_int, uint8_t, int32_t, +, )
POOL(sum_ints, int32_t, int32_t, +, )
POOL(sum_spikes_float, uint8_t, float, +, AVERAGE)
POOL(sum_floats, float, float, +, AVERAGE)

/* `kind`: 0 spikes to the largest, 1 spikes to int32, 2 int32, 3 spikes to float32, 4 float32. */
EXPORT void nd_pool(const struct pool *p, int64_t kind, int64_t images, void *const *x, void *const *out) {
    switch (kind) {
    case 0: largest_spike(p, images, data(x), data(out)); break;
    case 1: sum_spikes_int(p, images, data(x), data(out)); break;
    case 2: sum_ints(p, images, data(x), data(out)); break;
    case 3: sum_spikes_float(p, images, data(x), data(out)); break;
    default: sum_floats(p, images, data(x), data(out));
    }
}

/* Number of ones in bytes that are 0 or 1, where `mask` (NULL: everywhere) is 1 too. */
static int64_t ones(const uint8_t *x, const uint8_t *mask, int64_t size) {
    int64_t total = 0, i = 0;
    while (i + VECTOR <= size) {
        int64_t end = i + 255 * VECTOR; /* a byte counts to 255 */
        if (end > size) end = size;
        ubytes_t count = {0};
        for (; i + VECTOR <= end; i += VECTOR) {
            ubytes_t here = *(const ubytes_any *)(x + i);
            count += mask ? here & *(const ubytes_any *)(mask + i) : here;
        }
        for (int j = 0; j < VECTOR; j++) total += count[j];
    }
    for (; i < size; i++) total += mask ? x[i] & mask[i] : x[i];
    return total;
}

/* counts[t] += factor · spikes of step t where `mask` (n) is 1; x is (steps, samples, n) bytes. */
EXPORT void nd_count_masked(
    int64_t steps, int64_t samples, int64_t n, int64_t factor, void *const *x, void *const *mask, int64_t *counts
) {
    const uint8_t *from = data(x);
    for (int64_t t = 0; t < steps; t++) {
        int64_t total = 0;
        for (int64_t b = 0; b < samples; b++, from += n) total += ones(from, data(mask), n);
        counts[t] += factor * total;
    }
}

#define ARRIVING 3
#define CHUNK 4096

struct activity {
    int64_t pixels, channels;
    const uint8_t *driven[2]; /* neurons of one sample that are active without an event: first step, later */
    int64_t of_pixel[2];      /* their number in every pixel; −1 where pixels differ */
};

/* One array of bytes 0 or 1: where events arrive. Bits of `layout`, four per array: 1 a byte for each pixel (else for
 * each neuron), 2 the same at every step, 4 the same for every sample. */
struct events {
    const uint8_t *at;
    int64_t layout;
};

INLINE const uint8_t *events_of(const struct activity *p, struct events e, int64_t t, int64_t b, int64_t samples) {
    int64_t size = e.layout & 1 ? p->pixels : p->pixels * p->channels;
    int64_t step = e.layout & 2 ? 0 : e.layout & 4 ? size : size * samples;
    return e.at + t * step + (e.layout & 4 ? 0 : b * size);
}

/* Active neurons of one sample in one step where events reach all channels of a pixel or none. */
static int64_t active_pixels(const struct activity *p, int64_t driven, const uint8_t *at[ARRIVING], int count) {
    int64_t reached = 0;
    uint8_t any[CHUNK];
    for (int64_t first = 0; first < p->pixels; first += CHUNK) {
        int64_t here = p->pixels - first < CHUNK ? p->pixels - first : CHUNK;
        memset(any, 0, here);
        for (int k = 0; k < count; k++)
            for (int64_t i = 0; i < here; i++) any[i] |= at[k][first + i];
        reached += ones(any, NULL, here);
    }
    return reached * p->channels + (p->pixels - reached) * driven;
}

/* Active neurons of one sample in one step: a byte for each of some neurons at a time is put together in `any`. */
static int64_t active_neurons(
    const struct activity *p, const uint8_t *driven, const uint8_t *at[ARRIVING], const struct events *all, int count
) {
    int64_t total = 0, channels = p->channels, size = p->pixels * channels;
    uint8_t any[CHUNK];
    for (int64_t first = 0; first < size; first += CHUNK) {
        int64_t here = size - first < CHUNK ? size - first : CHUNK;
        memcpy(any, driven + first, here);
        for (int k = 0; k < count; k++) {
            if (!(all[k].layout & 1)) {
                const uint8_t *from = at[k] + first;
                for (int64_t i = 0; i < here; i++) any[i] |= from[i];
                continue;
            }
            for (int64_t pixel = first / channels; pixel * channels < first + here; pixel++) {
                if (!at[k][pixel]) continue;
                int64_t from = pixel * channels - first, to = from + channels;
                if (from < 0) from = 0;
                memset(any + from, 1, (to < here ? to : here) - from);
            }
        }
        total += ones(any, NULL, here);
    }
    return total;
}

/* Of `steps` steps from step `first` on, add to active[t] the neurons of all samples that an event reaches or that are
 * driven, and to idle[t] the others. */
EXPORT void nd_active(
    const struct activity *p, int64_t first, int64_t steps, int64_t samples, int64_t layout, void *const *a,
    void *const *b, void *const *c, int64_t *active, int64_t *idle
) {
    struct events all[ARRIVING] = {{data(a), layout & 15}, {data(b), layout >> 4 & 15}, {data(c), layout >> 8 & 15}};
    int count = c ? 3 : b ? 2 : a ? 1 : 0, by_pixels = 1;
    for (int k = 0; k < count; k++) by_pixels &= all[k].layout & 1;
    for (int64_t t = 0; t < steps; t++) {
        int late = first + t > 0;
        int64_t found = 0;
        for (int64_t s = 0; s < samples; s++) {
            const uint8_t *at[ARRIVING];
            for (int k = 0; k < count; k++) at[k] = events_of(p, all[k], t, s, samples);
            found += by_pixels && p->of_pixel[late] >= 0 ? active_pixels(p, p->of_pixel[late], at, count)
                                                         : active_neurons(p, p->driven[late], at, all, count);
        }
        active[t] += found;
        idle[t] += samples * p->pixels * p->channels - found;
    }
}
