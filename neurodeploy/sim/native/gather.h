/* The sums of one block of one image: conv.c includes this once for each kind of weight, of event and number of vectors.
 *
 * NAME(kind, vectors), EVENT (uint16_t: in units of 8 bytes; uint32_t: in bytes), NV, and one of
 *   SHORTS  16 bit weights, 16 bit sums    BYTES  8 bit weights, 16 bit sums    FLOATS  float32 both
 */
#define UNIT (sizeof(EVENT) == 2 ? 8 : 1)

#if defined(FLOATS)
typedef floats_t NAME(sum);
#define ADD(sum, at, i) sum += ((const floats_t *)(at))[i]
#define ROW (NV * VECTOR)
#elif defined(SHORTS)
typedef shorts_t NAME(sum);
#define ADD(sum, at, i) sum += ((const shorts_t *)(at))[i]
#define ROW (NV * VECTOR)
#else
typedef shorts_t NAME(sum);
#if defined(__AVX512BW__)
#define ADD(sum, at, i) sum += (shorts_t)_mm512_cvtepi8_epi16(((const __m256i *)(at))[i])
#elif defined(__AVX2__)
#define ADD(sum, at, i) sum += (shorts_t)_mm256_cvtepi8_epi16(((const __m128i *)(at))[i])
#else
#define ADD(sum, at, i) sum += __builtin_convertvector(((const half_bytes_any *)(at))[i], shorts_t)
#endif
#define ROW (NV * VECTOR / 2)
#endif

/* Adds the weights of the events of a run; `base` is where those of an event at x = 0 lie. */
INLINE void NAME(run)(NAME(sum) *sums, const char *base, const EVENT *event, const EVENT *end) {
    if (sizeof(EVENT) == 2)
        for (; event + 4 <= end; event += 4) { /* one load for four events */
            uint64_t four;
            memcpy(&four, event, 8);
            for (int j = 0; j < 4; j++, four >>= 16) {
                const char *at = base + (size_t)(uint16_t)four * UNIT;
                _Pragma("GCC unroll 8") for (int i = 0; i < NV; i++) ADD(sums[i], at, i);
            }
        }
    for (; event < end; event++) {
        const char *at = base + (size_t)*event * UNIT;
        _Pragma("GCC unroll 8") for (int i = 0; i < NV; i++) ADD(sums[i], at, i);
    }
}

static void NAME(block)(const struct conv *op, int64_t group, int64_t block, const char *weights, const void *events,
                        const uint32_t *starts, void *leaving, void *waiting) {
    const EVENT *list = events;
    const int64_t column = op->in.group_channels * ROW, kernel_row = op->kernel_columns * column;
    const int64_t width = op->in.width, lanes = NV * (VECTOR / (int64_t)sizeof(((NAME(sum)){0})[0]));
    (void)waiting;
    const int64_t line = op->dilation_y * width, together = op->together;
    const int64_t runs = op->dilation_x == 1 ? 1 : op->kernel_columns;
    const int64_t columns = op->dilation_x == 1 ? op->kernel_columns : 1;
#if defined(FLOATS)
    const floats_t *bias = op->bias ? (const floats_t *)(op->bias + (group * op->blocks + block) * lanes) : 0;
    float *out = (float *)leaving + block * lanes;
#else
    const int64_t most = op->most;
    int32_t *out = (int32_t *)leaving + block * lanes;
    (void)group;
#endif
    for (int64_t oy = 0; oy < op->out_height; oy++) {
        const int64_t y0 = oy * op->stride_y - op->padding_y;
        /* Kernel rows that lie in the image: from `above` to before `below`. */
        const int64_t above = y0 >= 0 ? 0 : (op->dilation_y - 1 - y0) / op->dilation_y;
        const int64_t room = (op->in.height - y0 + op->dilation_y - 1) / op->dilation_y;
        const int64_t below = room < op->kernel_rows ? room : op->kernel_rows;
        const uint32_t *first_line = starts + (y0 + above * op->dilation_y) * width;
        int64_t x0 = -op->padding_x;
        for (int64_t ox = 0; ox < op->out_width; ox += together, x0 += op->stride_x) {
            NAME(sum) sums[NV];
            _Pragma("GCC unroll 8") for (int i = 0; i < NV; i++) sums[i] = (NAME(sum)){0};
#if !defined(FLOATS)
            ints_t wide[2 * NV] = {{0}};
            int64_t before = 0;
            int moved = 0;
#endif
            const char *kernel = weights + above * kernel_row;
            const uint32_t *pixel = first_line;
            for (int64_t ky = above; ky < below; ky++, kernel += kernel_row, pixel += line)
                for (int64_t kx = 0; kx < runs; kx++) {
                    const int64_t first = x0 + kx * op->dilation_x, last = first + columns;
                    const int64_t low = first < 0 ? 0 : first, high = last > width ? width : last;
                    if (low >= high) continue;
                    const char *base = kernel + (kx - first) * column;
                    const EVENT *event = list + pixel[low], *end = list + pixel[high];
#if !defined(FLOATS)
                    if (most) {
                        while (end - event > most - before) {
                            const EVENT *stop = event + (most - before);
                            NAME(run)(sums, base, event, stop);
                            move_sums(sums, NV, wide);
                            event = stop, before = 0, moved = 1;
                        }
                        before += end - event;
                    }
#endif
                    NAME(run)(sums, base, event, end);
                }
            const int64_t there = lanes_there(op, block, ox, lanes);
#if defined(FLOATS)
            store_floats(out + (oy * op->out_width + ox) * op->outputs, sums, NV, there, bias);
#else
            if (!moved) /* so that `wide` stays out of registers where it is not needed */
                store_shorts(out + (oy * op->out_width + ox) * op->outputs, sums, NV, there, op);
            else {
                move_sums(sums, NV, wide);
                store_ints(out + (oy * op->out_width + ox) * op->outputs, wide, 2 * NV, there, op);
            }
#endif
        }
    }
}

/* The same for some output rows at once, kernel row by kernel row, so that the weights of one row are all that the cache
 * near the core must hold beside the sums, which wait in `waiting`. For sums that cannot leave 16 bits, or floats, and
 * without dilation along x. */
static void NAME(block_by_rows)(const struct conv *op, int64_t group, int64_t block, const char *weights, const void *events,
                                const uint32_t *starts, void *leaving, void *waiting) {
    const EVENT *list = events;
    const int64_t column = op->in.group_channels * ROW, kernel_row = op->kernel_columns * column;
    const int64_t width = op->in.width, lanes = NV * (VECTOR / (int64_t)sizeof(((NAME(sum)){0})[0]));
    const int64_t together = op->together, tiles = (op->out_width + together - 1) / together;
#if defined(FLOATS)
    const floats_t *bias = op->bias ? (const floats_t *)(op->bias + (group * op->blocks + block) * lanes) : 0;
    float *out = (float *)leaving + block * lanes;
#else
    int32_t *out = (int32_t *)leaving + block * lanes;
    (void)group;
#endif
    for (int64_t strip = 0; strip < op->out_height; strip += op->strip) {
        const int64_t below = strip + op->strip < op->out_height ? strip + op->strip : op->out_height;
        memset(waiting, 0, (size_t)((below - strip) * tiles * NV * VECTOR));
        for (int64_t ky = 0; ky < op->kernel_rows; ky++)
            for (int64_t oy = strip; oy < below; oy++) {
                const int64_t iy = oy * op->stride_y - op->padding_y + ky * op->dilation_y;
                if ((uint64_t)iy >= (uint64_t)op->in.height) continue;
                const uint32_t *pixel = starts + iy * width;
                NAME(sum) *at = (NAME(sum) *)waiting + (oy - strip) * tiles * NV;
                int64_t first = -op->padding_x;
                for (int64_t tile = 0; tile < tiles; tile++, first += op->stride_x, at += NV) {
                    const int64_t last = first + op->kernel_columns;
                    const int64_t low = first < 0 ? 0 : first, high = last > width ? width : last;
                    NAME(sum) sums[NV];
                    if (low >= high) continue;
                    _Pragma("GCC unroll 8") for (int i = 0; i < NV; i++) sums[i] = at[i];
                    NAME(run)(sums, weights + ky * kernel_row - first * column, list + pixel[low], list + pixel[high]);
                    _Pragma("GCC unroll 8") for (int i = 0; i < NV; i++) at[i] = sums[i];
                }
            }
        const NAME(sum) *at = waiting;
        for (int64_t oy = strip; oy < below; oy++)
            for (int64_t ox = 0; ox < op->out_width; ox += together, at += NV) {
                const int64_t there = lanes_there(op, block, ox, lanes);
#if defined(FLOATS)
                store_floats(out + (oy * op->out_width + ox) * op->outputs, at, NV, there, bias);
#else
                store_shorts(out + (oy * op->out_width + ox) * op->outputs, at, NV, there, op);
#endif
            }
    }
}

#undef UNIT
#undef ADD
#undef ROW
