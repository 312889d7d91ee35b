/* Convolution of real values, float32 in the canonical order: what the first layer of a network does with an image.
 *
 * out[n, oy, ox, o] = (((0 + p1) + p2) + ...) + bias[o],   p = x[n, y, x, c] * weight[o, c, ky, kx]
 *
 * by kernel row, kernel column, input channel, every product and every sum rounded. Every output is computed whole in a
 * register, so values are read from a cache and sums never. Zeros are multiplied too: with finite weights that adds
 * +0 or -0, and changes no bit, as a sum that began with +0 is never -0 (rounding to nearest, a sum is -0 only if both
 * numbers are). Values beside the image are skipped.
 */
#include "common.h"

#if defined(__AVX512BW__)
#define PIXELS 8
#else
#define PIXELS 4 /* 16 registers: 8 sums, 2 weights, a value and a product */
#endif

/* All int64, in this order; d for dilation. */
typedef struct {
    int64_t h, w, c, oh, ow, o, kh, kw, sy, sx, py, px, dy, dx;
} values_t;

/* `pixels` neighbors of an output row by `vectors` registers of output channels. All taps from (ky, kx) of `low` up to
 * `high` lie on the image; `x` is the first value of tap (0, 0) of the first pixel. */
INLINE void block(const values_t *g, const float *x, const float *weights, const float *bias, int64_t padded,
                  const int64_t low[2], const int64_t high[2], int64_t left, float *out, const int pixels,
                  const int vectors) {
    floats_t sum[PIXELS][2];
    for (int i = 0; i < pixels; i++)
        for (int v = 0; v < vectors; v++) sum[i][v] = (floats_t){0};
    for (int64_t ky = low[0]; ky < high[0]; ky++)
        for (int64_t kx = low[1]; kx < high[1]; kx++) {
            const float *value = x + (ky * g->dy * g->w + kx * g->dx) * g->c;
            const float *w = weights + (ky * g->kw + kx) * g->c * padded;
            for (int64_t c = 0; c < g->c; c++, w += padded) {
                floats_t row[2];
                for (int v = 0; v < vectors; v++) row[v] = ((const floats_any *)w)[v];
                for (int i = 0; i < pixels; i++) {
                    float one = value[i * g->sx * g->c + c];
                    for (int v = 0; v < vectors; v++) sum[i][v] += row[v] * one;
                }
            }
        }
    for (int i = 0; i < pixels; i++)
        for (int v = 0; v < vectors; v++) {
            int64_t rest = left - v * LANES32;
            float *to = out + i * g->o + v * LANES32;
            floats_t total = sum[i][v];
            if (bias) total += ((const floats_any *)bias)[v];
            if (rest >= LANES32)
                *(floats_any *)to = total;
            else if (rest > 0)
                memcpy(to, &total, (size_t)rest * sizeof(float));
        }
}

/* `x` (n, h, w, c) and `out` (n, oh, ow, o): pointers to where their addresses stand; `weights` (kh, kw, c, o') and
 * `bias` (o') or null, with o' = o rounded up to 16. */
EXPORT void nd_conv_values_f32(const values_t *g, const float *weights, const float *bias, void *const *x_, int64_t n,
                               void *const *out_) {
    const float *x = *x_;
    float *out = *out_;
    int64_t padded = (g->o + 15) / 16 * 16;
    for (int64_t i = 0; i < n; i++)
        for (int64_t oy = 0; oy < g->oh; oy++) {
            int64_t low[2], high[2], top = oy * g->sy - g->py;
            for (low[0] = 0; low[0] < g->kh && top + low[0] * g->dy < 0;) low[0]++;
            for (high[0] = g->kh; high[0] > low[0] && top + (high[0] - 1) * g->dy >= g->h;) high[0]--;
            for (int64_t ox = 0; ox < g->ow;) {
                int64_t start = ox * g->sx - g->px, last = start + (PIXELS - 1) * g->sx + (g->kw - 1) * g->dx;
                int many = start >= 0 && last < g->w && ox + PIXELS <= g->ow;
                low[1] = 0, high[1] = g->kw;
                if (!many) {
                    while (low[1] < g->kw && start + low[1] * g->dx < 0) low[1]++;
                    while (high[1] > low[1] && start + (high[1] - 1) * g->dx >= g->w) high[1]--;
                }
                const float *from = x + ((i * g->h + top) * g->w + start) * g->c;
                float *to = out + ((i * g->oh + oy) * g->ow + ox) * g->o;
                for (int64_t o = 0; o < padded; o += 2 * LANES32) {
                    const float *w = weights + o, *b = bias ? bias + o : 0;
                    int two = o + 2 * LANES32 <= padded;
                    if (many && two) block(g, from, w, b, padded, low, high, g->o - o, to + o, PIXELS, 2);
                    else if (many) block(g, from, w, b, padded, low, high, g->o - o, to + o, PIXELS, 1);
                    else if (two) block(g, from, w, b, padded, low, high, g->o - o, to + o, 1, 2);
                    else block(g, from, w, b, padded, low, high, g->o - o, to + o, 1, 1);
                }
                ox += many ? PIXELS : 1;
            }
        }
}
