/* Whether this library can run here, and how fast this machine adds at best. */
#include "common.h"
#include <time.h>

EXPORT int nd_runs_here(void) {
#if defined(__AVX512BW__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi2")
        && __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512bitalg")
        && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vbmi")
        && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
#elif defined(__AVX2__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2")
        && __builtin_cpu_supports("popcnt");
#else
    return 1;
#endif
}

/* Additions of 16 bit numbers per second when every vector of a buffer of `size` bytes is added to a register, again and
 * again: the most that a kernel can reach whose weights lie in the cache that holds such a buffer. CPU time of this thread.
 * `buffer` is aligned to 64 bytes and a multiple of 8 vectors long. */
EXPORT double nd_roofline(const shorts_t *buffer, int64_t size, int64_t repeats, int16_t *sink) {
    struct timespec before, after;
    shorts_t a0 = {0}, a1 = {0}, a2 = {0}, a3 = {0}, a4 = {0}, a5 = {0}, a6 = {0}, a7 = {0};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    for (int64_t r = 0; r < repeats; r++) {
        const shorts_t *end = buffer + size / VECTOR;
        for (const shorts_t *p = buffer; p < end; p += 8) {
            a0 += p[0], a1 += p[1], a2 += p[2], a3 += p[3], a4 += p[4], a5 += p[5], a6 += p[6], a7 += p[7];
        }
        __asm__ volatile("" ::: "memory"); /* the buffer is read again */
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    a0 += a1 + a2 + a3 + a4 + a5 + a6 + a7;
    *sink = a0[0];
    double seconds = (double)(after.tv_sec - before.tv_sec) + 1e-9 * (double)(after.tv_nsec - before.tv_nsec);
    return (double)repeats * (double)(size / VECTOR) * LANES16 / seconds;
}
