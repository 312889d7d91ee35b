/* Dense integer sums of spikes: every connection, spike or not, on matrix units (AMX) or byte dot products (VNNI).
 *
 * out[n, oy, ox, o] = Σ weight[o, c, ky, kx] * s[n, oy*sy + ky - py, ox*sx + kx - px, c] over ky, kx, c, modulo 2^32
 *
 * An implicit matrix product: a tile is 16 output pixels by 16 output channels, a step adds 64 products to each of its
 * numbers. The input is first copied, some images at a time, into planes from which 16 rows of 64 bytes can be loaded
 * at one constant stride. Kernel rows above and below the image are skipped, columns beside it are zeros. Two layouts:
 *
 * by rows      a tile is 16 neighbors in one output row: for wide images;
 * interleaved  images are the fastest axis, a tile is one pixel of 16 images (fewer images: several pixels of each), so
 *              that images of 2x2 fill it too.
 *
 * Where channels are a multiple of 64, a step is one tap with 64 channels, and stride is a reordering of columns. Else
 * a step is 64 bytes of a kernel row, whose taps and channels lie side by side in memory.
 *
 * Weights are bytes. Wider ones are two digits, w = f0*w0 + f1*w1: the input is copied twice, times f0 and times f1
 * (both times the largest input value fit a byte), as twice the channels. neurodeploy/sim/dense.py prepares all this.
 */
#include "common.h"

#if defined(__AVX512VNNI__) && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define AMX __attribute__((target("amx-tile,amx-int8")))

/* What does not depend on data; dense.py fills it, all int64. */
typedef struct {
    int64_t h, w, c, oh, ow, o, kh, kw, sy, sx, py, px;
    int64_t f0, f1;      /* f1 = 0: one digit */
    int64_t interleaved; /* layout */
    int64_t planes, jumps; /* steps along channels and along a kernel row; steps in all = planes * kh * jumps */
    int64_t columns;     /* stored columns of a row (by rows and thin: bytes) */
    int64_t chunk;       /* images that are copied at once */
    int64_t amx;         /* matrix unit, else VNNI */
    int64_t planes_size, buffer_size; /* bytes of the first two parts of the scratch memory */
} dense_t;

enum { MOST_JUMPS = 256 };

/* A chunk on its way: where things lie in the scratch memory. */
typedef struct {
    const dense_t *d;
    int64_t tiles, rows, stride;        /* tiles of an output row, rows of a tile, bytes between rows of a tile */
    int64_t plane_pitch, row_pitch;     /* bytes */
    int64_t jump[MOST_JUMPS];           /* bytes from tap to tap */
    int64_t out_stride;                 /* numbers between rows of a tile in the output, or 0: see `place` */
    int64_t *from, *to;                 /* per tile: byte in the planes, number in the output (row oy = 0 of both) */
    int64_t *place;                     /* per row of a merged row: number in the output */
} chunk_t;

EXPORT int nd_dense_kind(void) { /* 2: AMX, 1: VNNI; asks the kernel for the tile registers */
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 1;
    int there = (d >> 24 & 1) && (d >> 25 & 1); /* amx-tile, amx-int8 */
    return there && syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0 ? 2 : 1;
}

/* One image row as bytes that the sums read: times f0, and once more times f1. */
static const uint8_t *scaled(const dense_t *d, const uint8_t *row, uint8_t *buffer) {
    if (d->f0 == 1 && !d->f1) return row;
    uint8_t f0 = (uint8_t)d->f0, f1 = (uint8_t)d->f1;
    int64_t channels = d->c, all = d->f1 ? 2 * channels : channels;
    for (int64_t x = 0; x < d->w; x++) {
        const uint8_t *from = row + x * channels;
        uint8_t *to = buffer + x * all;
        for (int64_t i = 0; i < channels; i++) to[i] = (uint8_t)(from[i] * f0);
        if (f1) for (int64_t i = 0; i < channels; i++) to[channels + i] = (uint8_t)(from[i] * f1);
    }
    return buffer;
}

/* Copy n images into planes: wide [plane][y][column][64], thin [y][bytes]; interleaved
 * [plane][y][column][image][64]. */
static void fill(const chunk_t *k, const uint8_t *s, int64_t n, uint8_t *planes, uint8_t *buffer) {
    const dense_t *d = k->d;
    int64_t bytes = d->f1 ? 2 * d->c : d->c, wide = bytes % 64 == 0, phase_columns = d->columns / d->sx;
    int64_t image_pitch = d->h * k->row_pitch * (wide ? d->planes : 1), pixel = d->interleaved ? 64 * n : 64;
    for (int64_t i = 0; i < n; i++)
        for (int64_t y = 0; y < d->h; y++) {
            const uint8_t *row = scaled(d, s + (i * d->h + y) * d->w * d->c, buffer);
            uint8_t *to = planes + y * k->row_pitch + i * (d->interleaved ? 64 : image_pitch);
            if (wide) {
                for (int64_t p = 0; p < d->planes; p++)
                    for (int64_t phase = 0; phase < d->sx; phase++) {
                        uint8_t *at = to + p * k->plane_pitch + phase * phase_columns * pixel;
                        for (int64_t q = 0, x = phase - d->px; q < phase_columns; q++, x += d->sx, at += pixel) {
                            int in = x >= 0 && x < d->w;
                            __m512i v = in ? _mm512_loadu_si512(row + x * bytes + 64 * p) : _mm512_setzero_si512();
                            _mm512_storeu_si512(at, v);
                        }
                    }
            } else if (!d->interleaved) {
                int64_t left = d->px * bytes, inside = d->w * bytes;
                if (left + inside > d->columns) inside = d->columns - left;
                memset(to, 0, (size_t)left);
                memcpy(to + left, row, (size_t)inside);
                memset(to + left + inside, 0, (size_t)(d->columns - left - inside));
            } else {
                uint8_t *taps = buffer + d->w * bytes;
                for (int64_t ox = 0; ox < d->ow; ox++) {
                    int64_t first = ox * d->sx - d->px, last = first + d->kw;
                    int64_t a = first < 0 ? 0 : first, b = last > d->w ? d->w : last;
                    memset(taps, 0, (size_t)(64 * d->planes));
                    if (b > a) memcpy(taps + (a - first) * bytes, row + a * bytes, (size_t)((b - a) * bytes));
                    for (int64_t p = 0; p < d->planes; p++)
                        memcpy(to + p * k->plane_pitch + ox * pixel, taps + 64 * p, 64);
                }
            }
        }
}

/* The 16 numbers of every row of a tile, from where they were put aside to their places. */
static void scatter(const chunk_t *k, int64_t tile, int64_t row_out, int64_t channel, const int32_t *aside,
                    int32_t *out) {
    int64_t left = k->d->o - channel;
    __mmask16 mask = left >= 16 ? 0xffff : (__mmask16)((1 << left) - 1);
    for (int64_t r = 0; r < k->rows; r++) {
        int64_t at = k->out_stride ? k->to[tile] + r * k->out_stride : k->place[k->to[tile] + r];
        _mm512_mask_storeu_epi32(out + row_out + at + channel, mask, _mm512_loadu_si512(aside + 16 * r));
    }
}

/* `for` every step of an output row whose kernel rows `low` to `high` lie on the image: `at` is the step's offset in
 * the planes, `w` its weights. */
#define STEPS(...)                                                                                      \
    for (int64_t p = 0; p < planes; p++)                                                                \
        for (int64_t ky = low; ky < high; ky++) {                                                       \
            const int8_t *w = weights + (p * kh + ky) * jumps * 1024;                                   \
            int64_t line = p * k->plane_pitch + (ky - low) * k->row_pitch;                              \
            for (int64_t j = 0; j < jumps; j++, w += 1024) {                                            \
                int64_t at = line + k->jump[j];                                                         \
                __VA_ARGS__                                                                             \
            }                                                                                           \
        }

/* A finished tile: straight to the output, or aside for `scatter`, which comes later: what a tile store wrote cannot be
 * read at once. */
#define PUT(register_, tile_, channel_)                                                                 \
    if (direct && channel_ + 16 <= k->d->o)                                                             \
        _tile_stored(register_, out + row_out + k->to[tile_] + channel_, k->out_stride * 4);            \
    else                                                                                                \
        _tile_stored(register_, aside[register_], 64);
#define SPREAD(register_, tile_, channel_)                                                              \
    if (!direct || channel_ + 16 > k->d->o) scatter(k, tile_, row_out, channel_, aside[register_], out);

/* All tiles of one output row, for the 16 or 32 output channels from `channel` on. */
AMX static void row_amx(const chunk_t *k, const uint8_t *base, const int8_t *weights, int64_t low, int64_t high,
                        int64_t channel, int two, int64_t row_out, int32_t *out) {
    int64_t planes = k->d->planes, kh = k->d->kh, jumps = k->d->jumps, next = planes * kh * jumps * 1024;
    int64_t stride = k->stride, t = 0;
    int direct = k->out_stride != 0;
    int32_t aside[4][256] __attribute__((aligned(64)));
    if (two) {
        for (; t + 2 <= k->tiles; t += 2) {
            const uint8_t *a = base + k->from[t], *b = base + k->from[t + 1];
            _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
            STEPS(_tile_loadd(6, w, 64); _tile_loadd(4, a + at, stride); _tile_dpbusd(0, 4, 6);
                  _tile_loadd(7, w + next, 64); _tile_dpbusd(1, 4, 7);
                  _tile_loadd(5, b + at, stride); _tile_dpbusd(2, 5, 6); _tile_dpbusd(3, 5, 7);)
            PUT(0, t, channel) PUT(1, t, channel + 16) PUT(2, t + 1, channel) PUT(3, t + 1, channel + 16)
            SPREAD(0, t, channel) SPREAD(1, t, channel + 16) SPREAD(2, t + 1, channel) SPREAD(3, t + 1, channel + 16)
        }
        for (; t < k->tiles; t++) {
            const uint8_t *a = base + k->from[t];
            _tile_zero(0); _tile_zero(1);
            STEPS(_tile_loadd(6, w, 64); _tile_loadd(4, a + at, stride); _tile_dpbusd(0, 4, 6);
                  _tile_loadd(7, w + next, 64); _tile_dpbusd(1, 4, 7);)
            PUT(0, t, channel) PUT(1, t, channel + 16)
            SPREAD(0, t, channel) SPREAD(1, t, channel + 16)
        }
        return;
    }
    for (; t + 4 <= k->tiles; t += 4) {
        const uint8_t *a = base + k->from[t], *b = base + k->from[t + 1];
        const uint8_t *c = base + k->from[t + 2], *e = base + k->from[t + 3];
        _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
        STEPS(_tile_loadd(7, w, 64); _tile_loadd(4, a + at, stride); _tile_dpbusd(0, 4, 7);
              _tile_loadd(5, b + at, stride); _tile_dpbusd(1, 5, 7);
              _tile_loadd(4, c + at, stride); _tile_dpbusd(2, 4, 7);
              _tile_loadd(5, e + at, stride); _tile_dpbusd(3, 5, 7);)
        PUT(0, t, channel) PUT(1, t + 1, channel) PUT(2, t + 2, channel) PUT(3, t + 3, channel)
        SPREAD(0, t, channel) SPREAD(1, t + 1, channel) SPREAD(2, t + 2, channel) SPREAD(3, t + 3, channel)
    }
    for (; t < k->tiles; t++) {
        const uint8_t *a = base + k->from[t];
        _tile_zero(0);
        STEPS(_tile_loadd(7, w, 64); _tile_loadd(4, a + at, stride); _tile_dpbusd(0, 4, 7);)
        PUT(0, t, channel)
        SPREAD(0, t, channel)
    }
}

/* The same without a matrix unit: a register of weights is 16 output channels by 4 bytes, 8 rows of a
 * tile at a time. */
static void row_vnni(const chunk_t *k, const uint8_t *base, const int8_t *weights, int64_t low, int64_t high,
                     int64_t channel, int two, int64_t row_out, int32_t *out) {
    int64_t planes = k->d->planes, kh = k->d->kh, jumps = k->d->jumps, next = planes * kh * jumps * 1024;
    int32_t aside[2][256] __attribute__((aligned(64)));
    for (int64_t t = 0; t < k->tiles; t++) {
        for (int64_t first = 0; first < k->rows; first += 8) {
            const uint8_t *a[8];
            __m512i sum[2][8];
            for (int r = 0; r < 8; r++) {
                int64_t row = first + r < k->rows ? first + r : k->rows - 1;
                a[r] = base + k->from[t] + row * k->stride;
                sum[0][r] = sum[1][r] = _mm512_setzero_si512();
            }
            STEPS(for (int q = 0; q < 16; q++) {
                __m512i w0 = _mm512_loadu_si512(w + 64 * q), w1 = two ? _mm512_loadu_si512(w + next + 64 * q) : w0;
                _Pragma("GCC unroll 8") for (int r = 0; r < 8; r++) {
                    int32_t four;
                    memcpy(&four, a[r] + at + 4 * q, 4);
                    __m512i v = _mm512_set1_epi32(four);
                    sum[0][r] = _mm512_dpbusd_epi32(sum[0][r], v, w0);
                    if (two) sum[1][r] = _mm512_dpbusd_epi32(sum[1][r], v, w1);
                }
            })
            for (int r = 0; r < 8; r++)
                for (int i = 0; i < 2; i++)
                    _mm512_store_si512(aside[i] + 16 * (first + r), sum[i][r]);
        }
        scatter(k, t, row_out, channel, aside[0], out);
        if (two) scatter(k, t, row_out, channel + 16, aside[1], out);
    }
}

typedef struct { /* what LDTILECFG reads */
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} __attribute__((packed)) config_t;

AMX static void configure(int64_t rows) {
    config_t config;
    memset(&config, 0, sizeof config);
    config.palette = 1;
    for (int i = 0; i < 8; i++) config.bytes[i] = 64, config.rows[i] = i < 6 ? (uint8_t)rows : 16;
    __asm__ volatile("" : : "r"(&config) : "memory"); /* GCC thinks that it reads only the first 8 bytes */
    _tile_loadconfig(&config);
}

AMX static void release(void) { _tile_release(); }

/* Tiles of an output row with n images, the rest of a tile filled by going back: those rows are computed twice. */
static void lay_out(chunk_t *k, int64_t n, int64_t *table) {
    const dense_t *d = k->d;
    int64_t bytes = d->f1 ? 2 * d->c : d->c, wide = bytes % 64 == 0, unit = d->oh * d->ow * d->o;
    int64_t pixel = d->interleaved ? 64 * n : wide ? 64 : bytes, columns = d->columns / (wide ? d->sx : 1);
    for (int64_t j = 0; j < d->jumps; j++)
        k->jump[j] = wide ? (j % d->sx * columns + j / d->sx) * pixel : 64 * j;
    k->row_pitch = d->columns * (d->interleaved ? 64 * n : wide ? 64 : 1);
    k->plane_pitch = k->row_pitch * d->h;
    k->stride = d->interleaved || wide ? 64 : d->sx * bytes;
    int64_t merged = d->interleaved && n < 16; /* several pixels in a tile */
    int64_t lines = merged ? 1 : d->interleaved ? d->ow : n, length = merged ? d->ow * n : d->interleaved ? n : d->ow;
    int64_t each = (length + 15) / 16;
    k->rows = length < 16 ? length : 16;
    k->tiles = lines * each;
    k->from = table, k->to = table + k->tiles, k->place = table + 2 * k->tiles;
    k->out_stride = merged ? (d->oh * d->ow == 1 ? d->o : 0) : d->interleaved ? unit : d->o;
    for (int64_t line = 0, t = 0; line < lines; line++)
        for (int64_t start = 0; start < length; start += 16, t++) {
            int64_t at = start + k->rows > length ? length - k->rows : start;
            if (merged)
                k->from[t] = 64 * at, k->to[t] = k->out_stride ? at * d->o : at;
            else if (d->interleaved)
                k->from[t] = (line * n + at) * 64, k->to[t] = line * d->o + at * unit;
            else
                k->from[t] = line * d->planes * k->plane_pitch + at * k->stride, k->to[t] = line * unit + at * d->o;
        }
    if (merged && !k->out_stride)
        for (int64_t ox = 0; ox < d->ow; ox++)
            for (int64_t i = 0; i < n; i++) k->place[ox * n + i] = i * unit + ox * d->o;
}

/* `s` (n, h, w, c), `out` (n, oh, ow, o): pointers to where their addresses stand. `scratch`, aligned to 64 bytes:
 * `d->chunk` images as planes and 4096 bytes of slack, which zero weights meet; an image row as `scaled` makes it
 * and the steps of an output pixel; the tables of `lay_out`. */
EXPORT void nd_dense(const dense_t *d, const int8_t *weights, uint8_t *scratch, void *const *s_, int64_t n,
                     void *const *out_) {
    const uint8_t *s = *s_;
    int32_t *out = *out_;
    chunk_t k;
    k.d = d;
    int64_t steps = d->planes * d->kh * d->jumps, blocks = (d->o + 15) / 16;
    for (int64_t first = 0, most = d->chunk, m; first < n; first += m) {
        m = n - first < most ? n - first : most;
        if (d->interleaved && m > 16) m -= m % 16;
        lay_out(&k, m, (int64_t *)(scratch + d->planes_size + d->buffer_size));
        fill(&k, s + first * d->h * d->w * d->c, m, scratch, scratch + d->planes_size);
        __asm__ volatile("" ::: "memory"); /* tile loads do not tell the compiler what they read */
        if (d->amx) configure(k.rows);
        for (int64_t block = 0; block < blocks; block += 2) {
            int two = block + 1 < blocks;
            const int8_t *w = weights + block * steps * 1024;
            for (int64_t oy = 0; oy < d->oh; oy++) {
                int64_t top = oy * d->sy - d->py, bottom = d->h - top;
                int64_t low = top < 0 ? -top : 0, high = bottom < d->kh ? bottom : d->kh;
                if (high < low) high = low; /* the window is beside the image: zeros */
                int64_t row_out = (first * d->oh + oy) * d->ow * d->o;
                const uint8_t *base = scratch + (top + low) * k.row_pitch;
                (d->amx ? row_amx : row_vnni)(&k, base, w, low, high, 16 * block, two, row_out, out);
            }
        }
        if (d->amx) release();
    }
}

/* Digits (o, c', kh, kw), c' channels as they are copied, to the tiles of weights that the steps read: number 4 i +
 * j of a step's 64 bytes stands at [o / 16][step][i][o % 16][j]. `packed` is zero where a step reads more than there
 * is. */
EXPORT void nd_dense_pack(const dense_t *d, const int8_t *taps, int8_t *packed) {
    int64_t channels = d->f1 ? 2 * d->c : d->c, wide = channels % 64 == 0, steps = d->planes * d->kh * d->jumps;
    int64_t all = d->kh * d->kw, together = channels % 4 ? 1 : 4; /* numbers of a step that stay side by side */
    for (int64_t block = 0; block < d->o; block += 16, packed += steps * 1024) {
        int64_t outputs = d->o - block < 16 ? d->o - block : 16;
        for (int64_t c = 0; c < channels; c += together)
            for (int64_t tap = 0; tap < all; tap++) {
                int64_t ky = tap / d->kw, kx = tap % d->kw, at = wide ? c : kx * channels + c, k = at % 64;
                int64_t plane = wide || d->interleaved ? at / 64 : 0, jump = wide ? kx : d->interleaved ? 0 : at / 64;
                int8_t *to = packed + ((plane * d->kh + ky) * d->jumps + jump) * 1024 + k / 4 * 64 + k % 4;
                const int8_t *from = taps + (block * channels + c) * all + tap;
                for (int64_t o = 0; o < outputs; o++, to += 4, from += channels * all)
                    for (int64_t j = 0; j < together; j++) to[j] = from[j * all];
            }
    }
}

#else

EXPORT int nd_dense_kind(void) { return 0; }

#endif
