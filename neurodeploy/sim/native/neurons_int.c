/* Neurons of the integer machine (ir/machine.py), where 32 bits hold their sums; see neurons.h. */
#include "neurons.h"

#define WRAP (1 << 24)
#define STATE_LIMIT ((1 << 23) - 1)
/* Beyond this many weight units a sum saturates v whatever v and the bias are: |leaked v| < 2^23, |bias| <= 2^22. */
#define SUM_LIMIT ((1 << 24) - 1)

/* What arrives at one group in one step. `simple`: one array of 32 bit numbers. */
INLINE void integers_arriving(
    ints_t a[4], const struct arriving *all, int simple, int64_t t, int64_t at, int64_t count
) {
    if (simple) {
        get(a, all->from[0] + t * all->row[0] + 4 * at, count);
        return;
    }
    for (int j = 0; j < 4; j++) a[j] = (ints_t){0};
    for (int k = 0; k < all->count; k++) {
        const uint8_t *row = all->from[k] + t * all->row[k];
        if (all->layout >> (4 * k) & 1) {
            quarter_t q[4];
            get_bytes(q, row + at, count);
            for (int j = 0; j < 4; j++) a[j] += __builtin_convertvector(q[j], ints_t);
        } else {
            ints_t more[4];
            get(more, row + 4 * at, count);
            for (int j = 0; j < 4; j++) a[j] += more[j];
        }
    }
}

INLINE ints_t largest(ints_t a, ints_t b) {
#if defined(__AVX512BW__)
    return (ints_t)_mm512_max_epi32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (ints_t)_mm256_max_epi32((__m256i)a, (__m256i)b);
#else
    return choose(a > b, a, b);
#endif
}

INLINE ints_t smallest(ints_t a, ints_t b) {
#if defined(__AVX512BW__)
    return (ints_t)_mm512_min_epi32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (ints_t)_mm256_min_epi32((__m256i)a, (__m256i)b);
#else
    return choose(a < b, a, b);
#endif
}

INLINE ints_t clipped(ints_t a, int32_t limit) {
    return largest(smallest(a, (ints_t){0} + limit), (ints_t){0} - limit);
}

struct integer_neuron {
    int64_t period;
    int64_t cores;       /* a spike is a message to each of them */
    const int32_t *bias; /* weight units, |bias| <= 2^22, period + VECTOR long */
    int32_t factor;      /* 4096 − vDecay */
    int32_t threshold;   /* vThMant << 6 */
    int32_t wraps;       /* a sum may leave ±2^17, where u wraps */
    int32_t reads;       /* a readout: its value is v, spikes are an error */
};

enum leak { NONE, SHIFT, PRODUCT };

INLINE enum leak kind_of(int32_t factor) { return factor == 4096 ? NONE : factor & (factor - 1) ? PRODUCT : SHIFT; }

INLINE int32_t shift_of(int32_t factor) { return factor ? 12 - __builtin_ctz(factor) : 31; }

/* v·factor >> 12 truncated toward zero, |v| < 2^23. */
INLINE ints_t leaked(ints_t v, enum leak leak, int32_t factor, int32_t shift) {
    if (leak == NONE) return v;
    ints_t negative = v >> 31;
    if (leak == SHIFT) return (v + (negative & (int32_t)((1u << shift) - 1))) >> shift;
    /* |v| = high·2^12 + low, and high·2^12·factor >> 12 is whole: both products stay within 2^24. */
    ints_t size = (v ^ negative) - negative;
    ints_t product = (size >> 12) * factor + ((size & 4095) * factor >> 12);
    return (product ^ negative) - negative;
}

/* u of (a << 6) wrapped once at 24 bits, in weight units; what saturates v anyway is cut where 32 bits hold its sum. */
INLINE ints_t wrapped(ints_t a) {
    a -= (a > WRAP / 128) & (WRAP / 64);
    a += (a <= -WRAP / 128) & (WRAP / 64);
    return clipped(a, SUM_LIMIT);
}

/* Update one group through all steps; not 0 where a readout left its range. */
INLINE int integer_group(
    const struct integer_neuron *p, enum leak leak, int wraps, int reads, int simple, const struct arriving *arriving,
    int64_t steps, int64_t n, int64_t at, int64_t phase, int64_t count,
    int32_t *state, uint8_t *spikes, int32_t *membrane, int64_t *fired
) {
    int32_t factor = p->factor, shift = shift_of(factor);
    ints_t v[4] = {{0}}, bias[4], wrong = {0};
    for (int j = 0; j < 4; j++) bias[j] = ((const ints_any *)(p->bias + phase))[j];
    if (state) get(v, state + at, count);
    for (int64_t t = 0; t < steps; t++) {
        ints_t a[4], fires[4];
        integers_arriving(a, arriving, simple, t, at, count);
        for (int j = 0; j < 4; j++) {
            if (wraps) a[j] = wrapped(a[j]);
            v[j] = clipped(leaked(v[j], leak, factor, shift) + ((a[j] + bias[j]) << 6), STATE_LIMIT);
            fires[j] = v[j] > p->threshold;
            if (reads) wrong |= fires[j] | (v[j] == -STATE_LIMIT);
            v[j] &= ~fires[j];
        }
        if (!reads) sum_up(fired, t, put_spikes(spikes + t * n + at, fires, count));
        if (membrane) put(membrane + t * n + at, v, count);
    }
    if (state) put(state + at, v, count);
    int found = 0;
    if (reads)
        for (int j = 0; j < LANES32; j++) found |= wrong[j];
    return found;
}

INLINE int integer_all(
    const struct integer_neuron *p, enum leak leak, int wraps, int reads, int simple, const struct arriving *arriving,
    int64_t steps, int64_t n, int32_t *state, uint8_t *spikes, int32_t *membrane, int64_t *fired
) {
    int wrong = 0;
    EACH_GROUP(
        wrong |= integer_group(
            p, leak, wraps, reads, simple, arriving, steps, n, at, phase, count, state, spikes, membrane, fired
        )
    )
    return wrong;
}

/* LIF, or the readout, on the integer machine over `steps` rows of n neurons. `state` is v, carried where it is given;
 * `fired` and `messages` (steps) get those of each step added. Gives not 0 where a readout left its range. */
EXPORT int nd_neuron_int(
    const struct integer_neuron *p, int64_t steps, int64_t n, int64_t layout, void *const *a, void *const *b,
    void *const *c, void *const *state, void *const *spikes, void *const *membrane, int64_t *fired, int64_t *messages
) {
    struct arriving arriving = what_arrives(n, layout, a, b, c);
    enum leak leak = kind_of(p->factor);
    int simple = arriving.count == 1 && !(layout & 1), wrong = 0;
    send(messages, fired, -p->cores, steps);
#define RUN(leak, wraps, reads, simple)                                                                           \
    wrong = integer_all(p, leak, wraps, reads, simple, &arriving, steps, n, data(state), data(spikes), data(membrane), \
                        fired)
    if (p->reads) RUN(leak, p->wraps, 1, 0);
    else if (p->wraps) RUN(leak, 1, 0, 0);
    else if (!simple) RUN(leak, 0, 0, 0);
    else if (leak == NONE) RUN(NONE, 0, 0, 1);
    else if (leak == SHIFT) RUN(SHIFT, 0, 0, 1);
    else RUN(PRODUCT, 0, 0, 1);
#undef RUN
    send(messages, fired, p->cores, steps);
    return wrong;
}

struct cuba_neuron {
    struct integer_neuron membrane; /* `wraps` and `reads` are 0 */
    int32_t current_factor;         /* 4096 − iDecay */
};

INLINE void cuba_group(
    const struct cuba_neuron *p, enum leak leak, enum leak current_leak, const struct arriving *arriving, int64_t steps,
    int64_t n, int64_t at, int64_t phase, int64_t count, int32_t *current_state, int32_t *state, uint8_t *spikes,
    int32_t *membrane, int32_t *current, int64_t *fired
) {
    ints_t i[4] = {{0}}, v[4] = {{0}};
    const int32_t *bias = p->membrane.bias + phase;
    if (state) get(i, current_state + at, count), get(v, state + at, count);
    for (int64_t t = 0; t < steps; t++) {
        ints_t a[4], fires[4];
        integers_arriving(a, arriving, 0, t, at, count);
        for (int j = 0; j < 4; j++) {
            /* |a| < 2^17: both terms stay within 2^23, and one wrap brings their sum back. */
            i[j] = leaked(i[j], current_leak, p->current_factor, shift_of(p->current_factor)) + (a[j] << 6);
            i[j] -= ((i[j] > WRAP / 2) & WRAP) - ((i[j] <= -WRAP / 2) & WRAP);
            ints_t kept = leaked(v[j], leak, p->membrane.factor, shift_of(p->membrane.factor));
            v[j] = clipped(kept + i[j] + (((const ints_any *)bias)[j] << 6), STATE_LIMIT);
            fires[j] = v[j] > p->membrane.threshold;
            v[j] &= ~fires[j];
        }
        sum_up(fired, t, put_spikes(spikes + t * n + at, fires, count));
        if (membrane) put(membrane + t * n + at, v, count), put(current + t * n + at, i, count);
    }
    if (state) put(current_state + at, i, count), put(state + at, v, count);
}

INLINE void cuba_all(
    const struct cuba_neuron *q, enum leak leak, enum leak current_leak, const struct arriving *arriving, int64_t steps,
    int64_t n, int32_t *current_state, int32_t *state, uint8_t *spikes, int32_t *membrane, int32_t *current,
    int64_t *fired
) {
    const struct integer_neuron *p = &q->membrane;
    EACH_GROUP(
        cuba_group(q, leak, current_leak, arriving, steps, n, at, phase, count, current_state, state, spikes, membrane,
                   current, fired)
    )
}

/* CubaLIF on the integer machine where no sum can leave ±(2^17 − 1); see nd_neuron_int. */
EXPORT void nd_cuba_int(
    const struct cuba_neuron *p, int64_t steps, int64_t n, int64_t layout, void *const *a, void *const *b,
    void *const *c, void *const *current_state, void *const *state, void *const *spikes, void *const *membrane,
    void *const *current, int64_t *fired, int64_t *messages
) {
    struct arriving arriving = what_arrives(n, layout, a, b, c);
    enum leak leak = kind_of(p->membrane.factor), current_leak = kind_of(p->current_factor);
    send(messages, fired, -p->membrane.cores, steps);
    cuba_all(p, leak, current_leak, &arriving, steps, n, data(current_state), data(state), data(spikes), data(membrane),
             data(current), fired);
    send(messages, fired, p->membrane.cores, steps);
}

