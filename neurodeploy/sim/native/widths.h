/* The blocks of one kind of weight, for both kinds of events and all numbers of vectors. */
#define EVENT uint32_t
#define NV 1
#define NAME(what) JOIN(KIND, what, int1)
#include "gather.h"
#undef NAME
#undef NV
#define NV 2
#define NAME(what) JOIN(KIND, what, int2)
#include "gather.h"
#undef NAME
#undef NV
#define NV 3
#define NAME(what) JOIN(KIND, what, int3)
#include "gather.h"
#undef NAME
#undef NV
#define NV 4
#define NAME(what) JOIN(KIND, what, int4)
#include "gather.h"
#undef NAME
#undef NV
#undef EVENT
#define EVENT uint16_t
#define NV 1
#define NAME(what) JOIN(KIND, what, short1)
#include "gather.h"
#undef NAME
#undef NV
#define NV 2
#define NAME(what) JOIN(KIND, what, short2)
#include "gather.h"
#undef NAME
#undef NV
#define NV 3
#define NAME(what) JOIN(KIND, what, short3)
#include "gather.h"
#undef NAME
#undef NV
#define NV 4
#define NAME(what) JOIN(KIND, what, short4)
#include "gather.h"
#undef NAME
#undef NV
#undef EVENT
