/* Events: where the spikes of an image are, and how many operations they trigger. */
#include "events.h"

#if defined(__AVX512VBMI2__)
#include <immintrin.h>

/* The events of a vector of bytes (`there`: those that are meant), whose weights are `means`. */
INLINE uint16_t *append_shorts(__m256i bytes, __mmask32 there, __m512i means, uint16_t *list) {
    __mmask32 fired = _mm256_mask_test_epi8_mask(there, bytes, bytes);
    _mm512_storeu_si512(list, _mm512_maskz_compress_epi16(fired, means));
    return list + __builtin_popcount(fired);
}

INLINE uint32_t *append_ints(__m128i bytes, __mmask16 there, __m512i means, uint32_t *list) {
    __mmask16 fired = _mm_mask_test_epi8_mask(there, bytes, bytes);
    _mm512_storeu_si512(list, _mm512_maskz_compress_epi32(fired, means));
    return list + __builtin_popcount(fired);
}

INLINE uint16_t *append_pixel(const uint8_t *s, int64_t channels, __m512i means, __m512i vector, uint16_t *list) {
    const int64_t whole = channels & ~(int64_t)31, left = channels - whole;
    for (int64_t c = 0; c < whole; c += 32) {
        list = append_shorts(_mm256_loadu_si256((const __m256i *)(s + c)), ~(__mmask32)0, means, list);
        means = _mm512_add_epi16(means, vector);
    }
    if (left) {
        const __mmask32 rest = ((__mmask32)1 << left) - 1;
        const __m256i bytes = left == 16 ? _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(s + whole)))
                                         : _mm256_maskz_loadu_epi8(rest, s + whole);
        list = append_shorts(bytes, rest, means, list);
    }
    return list;
}

INLINE int64_t list_shorts(const uint8_t *s, const struct image *image, int64_t channels, int64_t row, uint16_t *list, uint32_t *starts) {
    uint16_t counting[32];
    for (int i = 0; i < 32; i++) counting[i] = (uint16_t)(i * row);
    const __m512i first = _mm512_loadu_si512(counting);
    const __m512i vector = _mm512_set1_epi16((short)(32 * row)), pixel = _mm512_set1_epi16((short)(channels * row));
    const int64_t pool = image->pool, step = image->channels, line = image->width * pool * step;
    const uint16_t *begin = list;
    for (int64_t y = 0; y < image->height; y++, s += pool * line) {
        __m512i means = first;
        const uint8_t *at = s;
        for (int64_t x = 0; x < image->width; x++, at += pool * step) {
            *starts++ = (uint32_t)(list - begin);
            if (pool == 1) list = append_pixel(at, channels, means, vector, list);
            else
                for (int64_t dy = 0; dy < pool; dy++)
                    for (int64_t dx = 0; dx < pool; dx++)
                        list = append_pixel(at + dy * line + dx * step, channels, means, vector, list);
            means = _mm512_add_epi16(means, pixel);
        }
    }
    *starts = (uint32_t)(list - begin);
    return list - begin;
}

INLINE int64_t list_ints(const uint8_t *s, const struct image *image, int64_t channels, int64_t row, uint32_t *list, uint32_t *starts) {
    const __m512i counting = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i first = _mm512_mullo_epi32(counting, _mm512_set1_epi32((int)row));
    const int64_t pool = image->pool, step = image->channels, line = image->width * pool * step;
    const uint32_t *begin = list;
    for (int64_t y = 0; y < image->height; y++, s += pool * line)
        for (int64_t x = 0; x < image->width; x++) {
            *starts++ = (uint32_t)(list - begin);
            for (int64_t square = 0; square < pool * pool; square++) {
                const uint8_t *at = s + square / pool * line + (x * pool + square % pool) * step;
                for (int64_t c = 0; c < channels; c += 16) {
                    const __mmask16 there = channels - c >= 16 ? 0xffff : (__mmask16)((1u << (channels - c)) - 1);
                    const __m512i base = _mm512_set1_epi32((int)((x * channels + c) * row));
                    list = append_ints(_mm_maskz_loadu_epi8(there, at + c), there, _mm512_add_epi32(first, base), list);
                }
            }
        }
    *starts = (uint32_t)(list - begin);
    return list - begin;
}

#else

#define LIST(name, type)                                                                                            \
    INLINE int64_t name(const uint8_t *s, const struct image *image, int64_t channels, int64_t row, type *list,     \
                        uint32_t *starts) {                                                                         \
        const int64_t pool = image->pool, step = image->channels, line = image->width * pool * step;                \
        const type *begin = list;                                                                                   \
        for (int64_t y = 0; y < image->height; y++, s += pool * line)                                               \
            for (int64_t x = 0; x < image->width; x++) {                                                            \
                *starts++ = (uint32_t)(list - begin);                                                               \
                for (int64_t square = 0; square < pool * pool; square++) {                                          \
                    const uint8_t *at = s + square / pool * line + (x * pool + square % pool) * step;               \
                    uint32_t means = (uint32_t)(x * channels * row);                                                \
                    int64_t c = 0;                                                                                  \
                    for (; c + 8 <= channels; c += 8) {                                                             \
                        uint64_t eight;                                                                             \
                        memcpy(&eight, at + c, 8);                                                                  \
                        if (eight)                                                                                  \
                            for (int i = 0; i < 8; i++) { /* no branch: a place is written, and kept for a spike */ \
                                *list = (type)(means + (uint32_t)(i * row));                                        \
                                list += at[c + i] != 0;                                                             \
                            }                                                                                       \
                        means += (uint32_t)(8 * row);                                                               \
                    }                                                                                               \
                    for (; c < channels; c++, means += (uint32_t)row) {                                             \
                        *list = (type)means;                                                                        \
                        list += at[c] != 0;                                                                         \
                    }                                                                                               \
                }                                                                                                   \
            }                                                                                                       \
        *starts = (uint32_t)(list - begin);                                                                         \
        return list - begin;                                                                                        \
    }

LIST(list_shorts, uint16_t)
LIST(list_ints, uint32_t)

#endif

int64_t nd_list_shorts(const uint8_t *s, const struct image *image, int64_t row, uint16_t *list, uint32_t *starts) {
    switch (image->group_channels) { /* the usual numbers of channels get loops of a known length */
    case 16: return list_shorts(s, image, 16, row, list, starts);
    case 32: return list_shorts(s, image, 32, row, list, starts);
    case 64: return list_shorts(s, image, 64, row, list, starts);
    default: return list_shorts(s, image, image->group_channels, row, list, starts);
    }
}

int64_t nd_list_ints(const uint8_t *s, const struct image *image, int64_t row, uint32_t *list, uint32_t *starts) {
    return list_ints(s, image, image->group_channels, row, list, starts);
}

