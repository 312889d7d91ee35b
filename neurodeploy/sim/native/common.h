/* What all kernels share: vectors of one register, and how many numbers they hold.
 *
 * GCC and Clang vector extensions: the compiler turns them into the instructions of the set it compiles for. Arrays from
 * NumPy are C-contiguous; only weights are promised to be aligned. All functions are free of state and of allocation,
 * and touch nothing but the arrays that they are given, so that threads may call them at the same time.
 */
#pragma once

#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512BW__)
#define VECTOR 64
#elif defined(__AVX2__)
#define VECTOR 32
#else
#define VECTOR 16
#endif

#define LANES16 (VECTOR / 2)
#define LANES32 (VECTOR / 4)

typedef int8_t bytes_t __attribute__((vector_size(VECTOR)));
typedef uint8_t ubytes_t __attribute__((vector_size(VECTOR)));
typedef int16_t shorts_t __attribute__((vector_size(VECTOR)));
typedef int32_t ints_t __attribute__((vector_size(VECTOR)));
typedef float floats_t __attribute__((vector_size(VECTOR)));
/* The same from any address. */
typedef int16_t shorts_any __attribute__((vector_size(VECTOR), aligned(1), may_alias));
typedef int32_t ints_any __attribute__((vector_size(VECTOR), aligned(1), may_alias));
typedef float floats_any __attribute__((vector_size(VECTOR), aligned(1), may_alias));
typedef uint8_t ubytes_any __attribute__((vector_size(VECTOR), aligned(1), may_alias));
/* Half a register: 16 bit numbers before they become 32 bit ones; 8 bit ones before they become 16 bit. */
typedef int16_t half_shorts_t __attribute__((vector_size(VECTOR / 2)));
typedef int16_t half_shorts_any __attribute__((vector_size(VECTOR / 2), aligned(1), may_alias));
typedef int8_t half_bytes_any __attribute__((vector_size(VECTOR / 2), aligned(1), may_alias));

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

/* Bytes as 32 bit numbers, a vector of them: what __builtin_convertvector means, and GCC does number by number. */
INLINE ints_t widen_bytes(const uint8_t *bytes) {
#if defined(__AVX512BW__)
    return (ints_t)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)bytes));
#elif defined(__AVX2__)
    return (ints_t)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)bytes));
#else
    ints_t wide;
    for (int i = 0; i < LANES32; i++) wide[i] = bytes[i];
    return wide;
#endif
}
