/* Neurons over time: each is updated through all timesteps in registers before the next ones are read.
 *
 * Rows of a timestep lie `n` numbers apart, n = samples x neurons. A parameter repeats every `period` neurons (1, the
 * channels, or all neurons of a sample), so samples follow each other without a seam; it is stored period + VECTOR
 * long, so that VECTOR numbers can be read from any place of a period. One group is VECTOR neurons: four registers of
 * 32 bit states, one register of spikes.
 *
 * An argument `void *const *` is the place in a NumPy array object where its data pointer is: reading the pointer here
 * costs nothing, reading it in Python costs more than a small layer. NULL: not asked for.
 */
#pragma once

#include "common.h"
#if defined(__AVX512BW__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#define GROUP VECTOR
#define SOURCES 3

typedef uint8_t quarter_t __attribute__((vector_size(VECTOR / 4)));

/* What arrives: up to three arrays that are added in order. Bits of `layout`, four per array: 1 it holds bytes,
 * 2 it has one row that is the same at every step. */
struct arriving {
    const uint8_t *from[SOURCES];
    int64_t row[SOURCES]; /* bytes from one step to the next */
    int64_t layout;
    int count;
};

INLINE void *data(void *const *array) { return array ? *array : NULL; }

INLINE struct arriving what_arrives(int64_t n, int64_t layout, void *const *a, void *const *b, void *const *c) {
    struct arriving all = {{data(a), data(b), data(c)}, {0}, layout, b ? c ? 3 : 2 : 1};
    for (int k = 0; k < SOURCES; k++) all.row[k] = layout >> (4 * k) & 2 ? 0 : layout >> (4 * k) & 1 ? n : 4 * n;
    return all;
}

/* Four registers from and to memory; a group at the end has fewer than GROUP neurons. */
INLINE void get(void *to, const void *from, int64_t count) {
    if (count == GROUP) {
        for (int j = 0; j < 4; j++) ((ints_any *)to)[j] = ((const ints_any *)from)[j];
    } else {
        memset(to, 0, 4 * VECTOR);
        memcpy(to, from, 4 * count);
    }
}

INLINE void put(void *to, const void *from, int64_t count) {
    if (count == GROUP) {
        for (int j = 0; j < 4; j++) ((ints_any *)to)[j] = ((const ints_any *)from)[j];
    } else {
        memcpy(to, from, 4 * count);
    }
}

INLINE void get_bytes(quarter_t q[4], const uint8_t *from, int64_t count) {
    if (count != GROUP) memset(q, 0, VECTOR);
    memcpy(q, from, count);
}

INLINE ints_t choose(ints_t mask, ints_t yes, ints_t no) { return (mask & yes) | (~mask & no); }

/* Write the spikes of a group as bytes, give their number. `fires` holds −1 or 0. */
INLINE int64_t put_spikes(uint8_t *to, const ints_t fires[4], int64_t count) {
#if defined(__AVX512BW__)
    __mmask64 bits = 0;
    for (int j = 0; j < 4; j++) bits |= (__mmask64)_mm512_movepi32_mask((__m512i)fires[j]) << (16 * j);
    if (count != GROUP) bits &= ((__mmask64)1 << count) - 1;
    __mmask64 there = count == GROUP ? ~(__mmask64)0 : ((__mmask64)1 << count) - 1;
    _mm512_mask_storeu_epi8(to, there, _mm512_maskz_set1_epi8(bits, 1));
    return __builtin_popcountll(bits);
#else
    union { ubytes_t all; quarter_t each[4]; uint64_t words[VECTOR / 8]; } bytes;
#if defined(__AVX2__)
    __m256i low = _mm256_packs_epi32((__m256i)fires[0], (__m256i)fires[1]);
    __m256i high = _mm256_packs_epi32((__m256i)fires[2], (__m256i)fires[3]);
    __m256i mixed = _mm256_packs_epi16(low, high);
    bytes.all = (ubytes_t)_mm256_permutevar8x32_epi32(mixed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)) & 1;
#else
    for (int j = 0; j < 4; j++) bytes.each[j] = __builtin_convertvector(fires[j], quarter_t) & 1;
#endif
    if (count == GROUP) {
        *(ubytes_any *)to = bytes.all;
    } else {
        memset((uint8_t *)&bytes + count, 0, GROUP - count);
        memcpy(to, &bytes, count);
    }
    uint64_t sum = 0; /* of at most 8 ones in each of 8 bytes */
    for (int j = 0; j < VECTOR / 8; j++) sum += bytes.words[j];
    return sum * 0x0101010101010101u >> 56;
#endif
}

INLINE void sum_up(int64_t *counts, int64_t t, int64_t more) {
    if (counts) counts[t] += more;
}

/* messages[t] += cores · what `fired` has grown by: once with −cores before, once with cores after. */
static void send(int64_t *messages, const int64_t *fired, int64_t cores, int64_t steps) {
    if (messages)
        for (int64_t t = 0; t < steps; t++) messages[t] += cores * fired[t];
}

/* Do `update` for every group of n neurons: from `at`, `count` of them, parameters from `phase`. */
#define EACH_GROUP(update)                                     \
    int64_t at = 0, phase = 0, further = GROUP % p->period;    \
    for (; at + GROUP <= n; at += GROUP) {                     \
        int64_t count = GROUP;                                 \
        update;                                                \
        phase += further;                                      \
        if (phase >= p->period) phase -= p->period;            \
    }                                                          \
    if (at < n) {                                              \
        int64_t count = n - at;                                \
        update;                                                \
    }
