/* C with the vector extensions of GCC and Clang: the sums are vectors in registers, which the compiler chooses. */
#include <stdint.h>

/* Vectors of one register: GCC keeps wider ones in memory. */
#ifdef __AVX512BW__
enum { LANES = 32 };
#else
enum { LANES = 16 };
#endif
enum { BLOCK = 64, KERNEL = 3, PADDING = 1, VECTORS = BLOCK / LANES };
typedef int16_t shorts_t __attribute__((vector_size(2 * LANES)));
typedef int32_t ints_t __attribute__((vector_size(4 * LANES), aligned(4)));

static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* out[n, oy, ox] = the sum of the weight rows of all events in its window; shapes as in layer.py. */
void add_events(const int32_t *starts, const int32_t *events, const int16_t *weight, int32_t *out,
                int64_t steps, int64_t height, int64_t width, int64_t blocks, int64_t depth) {
    int64_t channels = depth / KERNEL;
    for (int64_t block = 0; block < blocks; block++)
    for (int64_t n = 0; n < steps; n++)
    for (int64_t oy = 0; oy < height; oy++)
    for (int64_t ox = 0; ox < width; ox++) {
        int64_t left = larger(ox - PADDING, 0), right = smaller(ox - PADDING + KERNEL, width);
        shorts_t sums[VECTORS] = {0};
        for (int64_t ky = larger(0, PADDING - oy); ky < smaller(KERNEL, height + PADDING - oy); ky++) {
            const int32_t *row = starts + (n * height + oy + ky - PADDING) * (width + 1);
            const int16_t *rows = weight + ((block * KERNEL + ky) * depth - (ox - PADDING) * channels) * BLOCK;
            for (const int32_t *event = events + row[left]; event < events + row[right]; event++) {
                const shorts_t *add = (const shorts_t *)(rows + (int64_t)*event * BLOCK);
                for (int v = 0; v < VECTORS; v++) sums[v] += add[v];
            }
        }
        ints_t *total = (ints_t *)(out + (((n * height + oy) * width + ox) * blocks + block) * BLOCK);
        for (int v = 0; v < VECTORS; v++) total[v] = __builtin_convertvector(sums[v], ints_t);
    }
}
