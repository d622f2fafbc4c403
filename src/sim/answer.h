#pragma once
#include "sim/call.h"

/* Functions that put one number: the frame is the same, only the expression differs. */

#define ANSWER_NONE (-1) /* the expression's way of saying NOT_SUPPORTED */
#define CALL_MIG_OFF 64  /* wanted: NOT_SUPPORTED while MIG is on */

/* Into *ret, or NOT_SUPPORTED; INVALID_ARGUMENT for a NULL ret. */
enum nvml_return answer_number(const char *name, struct nvml_device *device, unsigned int *ret,
                               unsigned int want, int64_t (*value)(struct call *c));

/* enum nvml_return FN(struct nvml_device *device, unsigned int *ret); `c` is the call. */
#define ANSWER(fn, want, expression)                                                               \
    static int64_t fn##_value(struct call *c)                                                      \
    {                                                                                              \
        (void)c;                                                                                   \
        return (int64_t)(expression);                                                              \
    }                                                                                              \
    enum nvml_return fn(struct nvml_device *device, unsigned int *ret)                             \
    {                                                                                              \
        return answer_number(#fn, device, ret, want, fn##_value);                                  \
    }

/* Links of this GPU (api_nvlink.c); ANSWER_NONE where that is not known, and while MIG is on. */
int64_t nvlink_count(const struct call *c);
/* Has it links, and do they lead anywhere? */
bool nvlink_is_up(const struct call *c);
/* A field of NVLink's; NOT_SUPPORTED for all others. */
enum nvml_return nvlink_field(const struct call *c, struct nvml_field_value *v);
/* The older layout of the same. */
struct nvml_pci_info_v2 pci_info_v2(const struct nvml_pci_info *full);

/* May an administrator switch this, on the GPU or (CALL_MIG) on a slice?  Then `change` it. */
struct setting {
    unsigned int value;
};
enum nvml_return setting_change(const char *name, struct nvml_device *device, unsigned int want,
                                unsigned int value, unsigned int highest, call_change *change);

#define CLOCK_MAX_STEPS 1024 /* no board has so many */
/* The SMs' lowest; not above 0 when none of their clocks is known. */
int clock_least_mhz(const struct sim_model *m);
/* The SMs' clocks that go with a memory clock, highest first; 0 when there is no such memory clock.
 */
unsigned int clock_list_mhz(const struct sim_model *m, unsigned int memory_mhz,
                            unsigned int ret[CLOCK_MAX_STEPS]);
/* Application clocks went with driver 595. */
bool clock_has_applications(const struct call *c);
/* MHz at present of an nvmlClockType_t; ANSWER_NONE where it is not known (api_clock.c). */
int64_t clock_now_mhz(const struct call *c, unsigned int type);
