/* Convolutions in which every channel has its own kernel and one output: an identity skip is one.
 *
 * There is nothing to share between channels, so all of them are looked at, a vector at a time, and a spike lets its weight
 * through. The taps of an output come in the order kernel row, kernel column.
 */
#include "events.h"

struct depthwise {
    int64_t height, width, channels, out_height, out_width;
    int64_t kernel_rows, kernel_columns, stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
    int64_t wrap;
    const void *weights; /* [ky][kx][channel], int32 or float */
    const float *bias;   /* added to float sums, or null */
};

/* `size` channels from `c` on, 64 at most, of all outputs of an image; `s` and `out` are those of channel c. */
#define DEPTHWISE(name, type, finish)                                                                                     \
    INLINE void name##_channels(const struct depthwise *op, const uint8_t *s, type *out, int64_t c, int64_t size) {       \
        const type *weights = (const type *)op->weights + c;                                                              \
        const int64_t channels = op->channels;                                                                            \
        for (int64_t oy = 0; oy < op->out_height; oy++)                                                                   \
            for (int64_t ox = 0; ox < op->out_width; ox++, out += channels) {                                             \
                type sums[64] = {0};                                                                                      \
                for (int64_t ky = 0; ky < op->kernel_rows; ky++) {                                                        \
                    const int64_t y = oy * op->stride_y - op->padding_y + ky * op->dilation_y;                            \
                    if ((uint64_t)y >= (uint64_t)op->height) continue;                                                    \
                    for (int64_t kx = 0; kx < op->kernel_columns; kx++) {                                                 \
                        const int64_t x = ox * op->stride_x - op->padding_x + kx * op->dilation_x;                        \
                        if ((uint64_t)x >= (uint64_t)op->width) continue;                                                 \
                        const uint8_t *spikes = s + (y * op->width + x) * channels;                                       \
                        const type *w = weights + (ky * op->kernel_columns + kx) * channels;                              \
                        for (int64_t i = 0; i < size; i++) sums[i] += spikes[i] ? w[i] : 0;                               \
                    }                                                                                                     \
                }                                                                                                         \
                for (int64_t i = 0; i < size; i++) out[i] = finish;                                                       \
            }                                                                                                             \
    }                                                                                                                     \
    EXPORT void name(const struct depthwise *op, void *const *s_, int64_t images, void *const *out_) {                    \
        const uint8_t *s = *s_;                                                                                           \
        type *out = *out_;                                                                                                \
        for (int64_t n = 0; n < images; n++) {                                                                            \
            for (int64_t c = 0; c < op->channels; c += 64) {                                                              \
                switch (op->channels - c) { /* loops of a known length for the usual numbers */                           \
                case 16: name##_channels(op, s + c, out + c, c, 16); break;                                               \
                case 32: name##_channels(op, s + c, out + c, c, 32); break;                                               \
                default:                                                                                                  \
                    if (op->channels - c >= 64) name##_channels(op, s + c, out + c, c, 64);                               \
                    else name##_channels(op, s + c, out + c, c, op->channels - c);                                        \
                }                                                                                                         \
            }                                                                                                             \
            s += op->height * op->width * op->channels;                                                                   \
            out += op->out_height * op->out_width * op->channels;                                                         \
        }                                                                                                                 \
    }

DEPTHWISE(nd_depthwise_ints, int32_t, op->wrap ? (sums[i] << 8) >> 8 : sums[i])
DEPTHWISE(nd_depthwise_floats, float, op->bias ? sums[i] + op->bias[c + i] : sums[i])

/* One tap without stride or padding: output i is input i times its channel's weight. A float begins at +0, as all sums do:
 * a weight of -0 gives +0. Its bits are selected, not multiplied: 0 times infinity is not 0. Sums of one weight do not wrap. */
EXPORT void nd_points_ints(const struct depthwise *op, void *const *s_, int64_t images, void *const *out_) {
    const uint8_t *s = *s_;
    const int32_t *weights = op->weights;
    int32_t *out = *out_;
    for (int64_t p = 0; p < images * op->height * op->width; p++, s += op->channels, out += op->channels) {
        int64_t c = 0;
        for (; c + LANES32 <= op->channels; c += LANES32)
            *(ints_any *)(out + c) = widen_bytes(s + c) * *(const ints_any *)(weights + c);
        for (; c < op->channels; c++) out[c] = s[c] ? weights[c] : 0;
    }
}

EXPORT void nd_points_floats(const struct depthwise *op, void *const *s_, int64_t images, void *const *out_) {
    const uint8_t *s = *s_;
    const float *weights = op->weights;
    float *out = *out_;
    for (int64_t p = 0; p < images * op->height * op->width; p++, s += op->channels, out += op->channels) {
        int64_t c = 0;
        for (; c + LANES32 <= op->channels; c += LANES32) {
            const floats_t sums = (floats_t){0} + (floats_t)(-widen_bytes(s + c) & *(const ints_any *)(weights + c));
            *(floats_any *)(out + c) = op->bias ? sums + *(const floats_any *)(op->bias + c) : sums;
        }
        for (; c < op->channels; c++) {
            const float sum = 0.0f + (s[c] ? weights[c] : 0.0f);
            out[c] = op->bias ? sum + op->bias[c] : sum;
        }
    }
}
