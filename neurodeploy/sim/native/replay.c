/* Calls of kernels again, in their order, without Python between them. */
#include "common.h"

enum { MOST_ARGUMENTS = 16 };

struct call {
    int64_t function, judges;
    int64_t arguments[MOST_ARGUMENTS]; /* integers and addresses: what the function does not take lies behind what it does */
};

typedef int (*function_t)(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                          int64_t, int64_t, int64_t, int64_t, int64_t);

/* Gives the number of the call after which something is wrong, counted from 1; 0 where nothing is. */
EXPORT int64_t nd_replay(const struct call *calls, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const int64_t *a = calls[i].arguments;
        int found = ((function_t)calls[i].function)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11],
                                                    a[12], a[13], a[14], a[15]);
        if (calls[i].judges && found) return i + 1;
    }
    return 0;
}
