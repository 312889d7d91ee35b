/* Convolutions of spikes: every output gathers the weights of the events in its window.
 *
 * out[n, oy, ox, o] = Σ w[o, ky, kx, c] over the spikes s[n, oy·sh − ph + ky·dh, ox·sw − pw + kx·dw, c], for the channels
 * c of o's group; a Linear is the case of one pixel. The outputs of a block, and `together` neighboring outputs of a row,
 * stay in registers while the events of their window pass: an event costs one addition a register. The weights of a block
 * are laid out [ky][kx][c][lanes], so that events side by side in a row of the image need one base address.
 *
 * Neighboring outputs: `together` = m outputs of a row are m·O lanes of a convolution with stride m·sw and kW + (m − 1)·sw
 * columns, in which weights that an output does not have are 0. Adding 0 changes no sum, neither int nor float (sums begin
 * at +0 and never become −0).
 *
 * Every output gets its weights in the order kernel row, kernel column, channel: the canonical order of float sums.
 *
 * 16 bit sums: `most` is the largest number of events whose weights cannot leave 16 bits whatever they are, proven from
 * the weights; before that many have been added, sums move to 32 bits.
 */
#include "events.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

enum { SHORT_WEIGHTS, BYTE_WEIGHTS, FLOAT_WEIGHTS, KINDS };
#define MOST_VECTORS 4

struct conv {
    struct image in;
    int64_t out_height, out_width, outputs, group_outputs, groups;
    int64_t kernel_rows, kernel_columns; /* columns: of `together` outputs */
    int64_t stride_y, stride_x;          /* x: of `together` outputs */
    int64_t padding_y, padding_x, dilation_y, dilation_x;
    int64_t together, blocks, vectors;   /* vectors of a block: registers of sums */
    int64_t kind, row;                   /* of weights; bytes of a row of a block */
    int64_t short_events;                /* events are 16 bit, in units of 8 bytes; else 32 bit, in bytes */
    int64_t most;                        /* events before 16 bit sums must move on; 0: never */
    int64_t at_once;                     /* images whose events are listed before the weights of a block are gone through */
    int64_t by_rows, strip;              /* kernel row by kernel row over so many output rows: see gather.h */
    int64_t shift, wrap;                 /* int sums: times 2^shift; wrap at 24 bits, as on the integer machine */
    const void *weights;                 /* [group][block][ky][kx][c][lanes] */
    const float *bias;                   /* [group][block][lanes], added to float sums, or null */
};

/* Lanes of a block that are outputs: all but at the right border and in the last block. */
INLINE int64_t lanes_there(const struct conv *op, int64_t block, int64_t ox, int64_t lanes) {
    const int64_t left = op->out_width - ox, together = left < op->together ? left : op->together;
    const int64_t there = together * op->group_outputs - block * lanes;
    return there < lanes ? there : lanes;
}

INLINE ints_t low_half(shorts_t sums) {
#if defined(__AVX512BW__)
    return (ints_t)_mm512_cvtepi16_epi32(_mm512_castsi512_si256((__m512i)sums));
#elif defined(__AVX2__)
    return (ints_t)_mm256_cvtepi16_epi32(_mm256_castsi256_si128((__m256i)sums));
#else
    half_shorts_t halves[2];
    memcpy(halves, &sums, VECTOR);
    return __builtin_convertvector(halves[0], ints_t);
#endif
}

INLINE ints_t high_half(shorts_t sums) {
#if defined(__AVX512BW__)
    return (ints_t)_mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64((__m512i)sums, 1));
#elif defined(__AVX2__)
    return (ints_t)_mm256_cvtepi16_epi32(_mm256_extracti128_si256((__m256i)sums, 1));
#else
    half_shorts_t halves[2];
    memcpy(halves, &sums, VECTOR);
    return __builtin_convertvector(halves[1], ints_t);
#endif
}

/* Adds 16 bit sums to 32 bit ones; they begin again. */
INLINE void move_sums(shorts_t *sums, int count, ints_t *wide) {
    for (int i = 0; i < count; i++) {
        wide[2 * i] += low_half(sums[i]);
        wide[2 * i + 1] += high_half(sums[i]);
        sums[i] = (shorts_t){0};
    }
}

INLINE void store_ints(int32_t *out, const ints_t *sums, int count, int64_t there, const struct conv *op) {
    ints_t full[2 * MOST_VECTORS];
    _Pragma("GCC unroll 8") for (int i = 0; i < count; i++) full[i] = sums[i] << (int32_t)op->shift;
    if (op->wrap)
        _Pragma("GCC unroll 8") for (int i = 0; i < count; i++) full[i] = (full[i] << 8) >> 8;
    if (there == count * LANES32)
        _Pragma("GCC unroll 8") for (int i = 0; i < count; i++) ((ints_any *)out)[i] = full[i];
    else
        memcpy(out, full, (size_t)there * 4);
}

/* 16 bit sums that were never moved. */
INLINE void store_shorts(int32_t *out, const shorts_t *sums, int count, int64_t there, const struct conv *op) {
    if (there == count * LANES16)
        _Pragma("GCC unroll 4") for (int i = 0; i < count; i++) {
            ((ints_any *)out)[2 * i] = low_half(sums[i]) << (int32_t)op->shift;
            ((ints_any *)out)[2 * i + 1] = high_half(sums[i]) << (int32_t)op->shift;
        }
    else
        for (int i = 0; i < count; i++) {
            const ints_t halves[2] = {low_half(sums[i]) << (int32_t)op->shift, high_half(sums[i]) << (int32_t)op->shift};
            const int64_t left = there - i * LANES16, here = left < LANES16 ? left : LANES16;
            if (here > 0) memcpy(out + i * LANES16, halves, (size_t)here * 4);
        }
}

INLINE void store_floats(float *out, const floats_t *sums, int count, int64_t there, const floats_t *bias) {
    floats_t full[MOST_VECTORS];
    _Pragma("GCC unroll 4") for (int i = 0; i < count; i++) full[i] = bias ? sums[i] + bias[i] : sums[i];
    if (there == count * LANES32)
        _Pragma("GCC unroll 4") for (int i = 0; i < count; i++) ((floats_any *)out)[i] = full[i];
    else
        memcpy(out, full, (size_t)there * 4);
}

#define JOIN3(a, b, c) a##_##b##_##c
#define JOIN(a, b, c) JOIN3(a, b, c)

#define SHORTS
#define KIND shorts
#include "widths.h"
#undef SHORTS
#undef KIND

#define BYTES
#define KIND bytes
#include "widths.h"
#undef BYTES
#undef KIND

#define FLOATS
#define KIND floats
#include "widths.h"
#undef FLOATS
#undef KIND

typedef void (*block_t)(const struct conv *, int64_t, int64_t, const char *, const void *, const uint32_t *, void *, void *);

#define WIDTHS(kind, way, event) {0, kind##_##way##_##event##1, kind##_##way##_##event##2, kind##_##way##_##event##3, kind##_##way##_##event##4}
#define WAYS(kind) {{WIDTHS(kind, block, int), WIDTHS(kind, block, short)}, {WIDTHS(kind, block_by_rows, int), WIDTHS(kind, block_by_rows, short)}}
/* [kind][by rows][short events][vectors] */
static const block_t BLOCKS[KINDS][2][2][MOST_VECTORS + 1] = {WAYS(shorts), WAYS(bytes), WAYS(floats)};

/* Bytes, as whole lines of the cache. */
INLINE int64_t lines(int64_t size) { return (size + 63) & ~(int64_t)63; }

/* Bytes of memory that a call of nd_conv needs to work in. */
EXPORT int64_t nd_conv_scratch(const struct conv *op) {
    const int64_t pixels = op->in.height * op->in.width;
    const int64_t tiles = op->strip * ((op->out_width + op->together - 1) / op->together);
    const int64_t bytes = pixels * op->in.pool * op->in.pool * op->in.group_channels;
    return lines(op->at_once * (bytes + 32) * (op->short_events ? 2 : 4))
        + lines(op->at_once * (pixels + 1) * 4) + (op->by_rows ? tiles * op->vectors * VECTOR : 0);
}

/* All images: `*s` (images, H, W, C), `*out` (images, OH, OW, O), int32 or float. In `scratch` lie the events of a group of
 * `at_once` images, with room for 32 more each; where those of a pixel begin, and one more; sums that wait. */
EXPORT void nd_conv(const struct conv *op, void *const *s, int64_t images, void *const *out, char *scratch) {
    const int64_t pixels = op->in.height * op->in.width, all = pixels * op->in.pool * op->in.pool;
    const int64_t in = all * op->in.channels, room = (all * op->in.group_channels + 32) * (op->short_events ? 2 : 4);
    const int64_t leaving = op->out_height * op->out_width * op->outputs;
    const int64_t block_size = op->kernel_rows * op->kernel_columns * op->in.group_channels * op->row;
    const block_t run = BLOCKS[op->kind][op->by_rows][op->short_events][op->vectors];
    uint32_t *starts = (uint32_t *)(scratch + lines(op->at_once * room));
    char *waiting = (char *)starts + lines(op->at_once * (pixels + 1) * 4);
    for (int64_t first = 0; first < images; first += op->at_once) {
        const int64_t now = images - first < op->at_once ? images - first : op->at_once;
        for (int64_t g = 0; g < op->groups; g++) {
            for (int64_t n = 0; n < now; n++) {
                const uint8_t *group = (const uint8_t *)*s + (first + n) * in + g * op->in.group_channels;
                char *list = scratch + n * room;
                uint32_t *pixel = starts + n * (pixels + 1);
                if (op->short_events) nd_list_shorts(group, &op->in, op->row / 8, (uint16_t *)list, pixel);
                else nd_list_ints(group, &op->in, op->row, (uint32_t *)list, pixel);
            }
            for (int64_t block = 0; block < op->blocks; block++) {
                const char *weights = (const char *)op->weights + (g * op->blocks + block) * block_size;
                for (int64_t n = 0; n < now; n++)
                    run(op, g, block, weights, scratch + n * room, starts + n * (pixels + 1),
                        (char *)*out + ((first + n) * leaving + g * op->group_outputs) * 4, waiting);
            }
        }
    }
}
