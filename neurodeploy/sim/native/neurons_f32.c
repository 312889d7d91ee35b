/* Neurons in float32, in the order of operations of ir/interpret.py; see neurons.h. */
#include "neurons.h"

/* What arrives at one group in one step; `simple`: one array of 32 bit numbers. The first array is taken as it is
 * (0 + x would turn −0 into 0), the others are added. */
INLINE void floats_arriving(
    floats_t x[4], const struct arriving *all, int simple, int64_t t, int64_t at, int64_t count
) {
    if (simple) {
        get(x, all->from[0] + t * all->row[0] + 4 * at, count);
        return;
    }
    for (int k = 0; k < all->count; k++) {
        const uint8_t *row = all->from[k] + t * all->row[k];
        floats_t more[4];
        if (all->layout >> (4 * k) & 1) {
            quarter_t q[4];
            get_bytes(q, row + at, count);
            for (int j = 0; j < 4; j++)
                more[j] = __builtin_convertvector(__builtin_convertvector(q[j], ints_t), floats_t);
        } else {
            get(more, row + 4 * at, count);
        }
        for (int j = 0; j < 4; j++) x[j] = k ? x[j] + more[j] : more[j];
    }
}

struct float_neuron {
    int64_t period;
    int64_t cores;
    const float *decay, *gain, *offset; /* period + VECTOR long each */
    const float *threshold, *v_reset;   /* LIF only */
    int32_t at_threshold;               /* fires at the threshold, not only above */
    int32_t subtracts;                  /* resets by subtraction, not to v_reset */
};

INLINE void parameter(floats_t p[4], const float *from, int64_t phase) {
    for (int j = 0; j < 4; j++) p[j] = ((const floats_any *)(from + phase))[j];
}

INLINE void lif_group(
    const struct float_neuron *p, int at_threshold, int subtracts, int simple, const struct arriving *arriving,
    int64_t steps, int64_t n, int64_t at, int64_t phase, int64_t count,
    float *state, uint8_t *spikes, float *membrane, int64_t *fired
) {
    floats_t u[4] = {{0}}, decay[4], gain[4], offset[4], threshold[4], v_reset[4];
    parameter(decay, p->decay, phase), parameter(gain, p->gain, phase), parameter(offset, p->offset, phase);
    parameter(threshold, p->threshold, phase), parameter(v_reset, p->v_reset, phase);
    if (state) get(u, state + at, count);
    for (int64_t t = 0; t < steps; t++) {
        floats_t x[4];
        ints_t fires[4];
        floats_arriving(x, arriving, simple, t, at, count);
        for (int j = 0; j < 4; j++) {
            floats_t before = (decay[j] * u[j] + gain[j] * x[j]) + offset[j];
            fires[j] = at_threshold ? before >= threshold[j] : before > threshold[j];
            floats_t reset = subtracts ? before - threshold[j] : v_reset[j];
            u[j] = (floats_t)choose(fires[j], (ints_t)reset, (ints_t)before);
        }
        sum_up(fired, t, put_spikes(spikes + t * n + at, fires, count));
        if (membrane) put(membrane + t * n + at, u, count);
    }
    if (state) put(state + at, u, count);
}

INLINE void lif_all(
    const struct float_neuron *p, int at_threshold, int subtracts, int simple, const struct arriving *arriving,
    int64_t steps, int64_t n, float *state, uint8_t *spikes, float *membrane, int64_t *fired
) {
    EACH_GROUP(
        lif_group(
            p, at_threshold, subtracts, simple, arriving, steps, n, at, phase, count, state, spikes, membrane, fired
        )
    )
}

/* LIF, one spike at most: see nd_neuron_int and neuron_kernels.lif_float. */
EXPORT void nd_lif_f32(
    const struct float_neuron *p, int64_t steps, int64_t n, int64_t layout, void *const *a, void *const *b,
    void *const *c, void *const *state, void *const *spikes, void *const *membrane, int64_t *fired, int64_t *messages
) {
    struct arriving arriving = what_arrives(n, layout, a, b, c);
    int simple = arriving.count == 1 && !(layout & 1);
    send(messages, fired, -p->cores, steps);
#define RUN(at_threshold, subtracts, simple)                                                                      \
    lif_all(p, at_threshold, subtracts, simple, &arriving, steps, n, data(state), data(spikes), data(membrane), \
            fired)
    if (!simple) RUN(p->at_threshold, p->subtracts, 0);
    else if (p->subtracts) RUN(p->at_threshold, 1, 1);
    else if (p->at_threshold) RUN(1, 0, 1);
    else RUN(0, 0, 1);
#undef RUN
    send(messages, fired, p->cores, steps);
}

INLINE void integrate_group(
    const struct float_neuron *p, const struct arriving *arriving, int64_t steps, int64_t n, int64_t at, int64_t phase,
    int64_t count, float *state, float *out
) {
    floats_t u[4] = {{0}}, decay[4], gain[4], offset[4];
    parameter(decay, p->decay, phase), parameter(gain, p->gain, phase), parameter(offset, p->offset, phase);
    if (state) get(u, state + at, count);
    for (int64_t t = 0; t < steps; t++) {
        floats_t x[4];
        floats_arriving(x, arriving, 0, t, at, count);
        for (int j = 0; j < 4; j++) u[j] = (decay[j] * u[j] + gain[j] * x[j]) + offset[j];
        put(out + t * n + at, u, count);
    }
    if (state) put(state + at, u, count);
}

/* out[t] = u = (decay·u + gain·x[t]) + offset. */
EXPORT void nd_integrate_f32(
    const struct float_neuron *p, int64_t steps, int64_t n, int64_t layout, void *const *a, void *const *b,
    void *const *c, void *const *state, void *const *out
) {
    struct arriving arriving = what_arrives(n, layout, a, b, c);
    float *u = data(state), *to = data(out);
    EACH_GROUP(integrate_group(p, &arriving, steps, n, at, phase, count, u, to))
}
