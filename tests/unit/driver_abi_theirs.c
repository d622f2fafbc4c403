#include "driver_abi.h"
#include <nvml.h>

#define SIZE(ours, theirs) {#theirs, sizeof(theirs)},
#define MEMBER(ours, theirs, mine, real) {#theirs "." #real, offsetof(theirs, real)},
#define VALUE(ours, theirs) {#theirs, (unsigned long long)(theirs)},

const struct abi_row abi_theirs[] = {ABI_ROWS(SIZE, MEMBER, VALUE){NULL, 0}};
