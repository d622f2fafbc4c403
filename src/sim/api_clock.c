/* Clocks.  Graphics, SM and video follow the load, memory does not; both stay within what an
 * administrator has locked them to. */
#include "sim/answer.h"
#include "sim/meter.h"
#include "sim/nvml.h"
#include <stdlib.h>

enum clock_type { CLOCK_GRAPHICS, CLOCK_SM, CLOCK_MEMORY, CLOCK_VIDEO, CLOCK_COUNT };

static int64_t known(int mhz)
{
    return mhz > 0 ? mhz : ANSWER_NONE;
}

static int64_t max_mhz(const struct sim_model *m, unsigned int type)
{
    if (type == CLOCK_MEMORY) {
        return known(m->memory_clock_mhz);
    }
    return known(type == CLOCK_VIDEO && m->board.video_mhz > 0 ? m->board.video_mhz
                                                               : m->sm_clock_mhz);
}

/* Of the SMs with nothing to do, which is also the lowest that can be asked for. */
int clock_least_mhz(const struct sim_model *m)
{
    enum { COMMON = 345 };
    if (m->board.idle_mhz > 0) {
        return m->board.idle_mhz;
    }
    return m->sm_clock_mhz < COMMON ? m->sm_clock_mhz : COMMON;
}

/* As it would be with nothing set. */
static int64_t natural_mhz(const struct call *c, unsigned int type)
{
    int64_t max = max_mhz(c->model, type);
    if (max == ANSWER_NONE || type == CLOCK_MEMORY ||
        meter_activity(c->model, c->gpu, SIM_WHOLE) > 0) {
        return max;
    }
    const struct sim_board *b = &c->model->board;
    return type == CLOCK_VIDEO && b->video_idle_mhz > 0 ? b->video_idle_mhz
                                                        : clock_least_mhz(c->model);
}

static int64_t within(int64_t mhz, int32_t least, int32_t most)
{
    mhz = most > 0 && mhz > most ? most : mhz;
    return mhz < least ? least : mhz;
}

int64_t clock_now_mhz(const struct call *c, unsigned int type)
{
    const struct sim_settings *set = &c->state->settings;
    int64_t mhz = natural_mhz(c, type);
    if (mhz == ANSWER_NONE || type == CLOCK_VIDEO) {
        return mhz;
    }
    return type == CLOCK_MEMORY
               ? within(mhz, set->least_memory_mhz, set->most_memory_mhz)
               : within(within(mhz, 0, set->app_sm_mhz), set->least_sm_mhz, set->most_sm_mhz);
}

/* Driver 595 no longer has them (captures of T4 and L40S), 580 does (H100, B200). */
bool clock_has_applications(const struct call *c)
{
    enum { WITHOUT_DRIVER = 595 };
    return strtol(c->file->driver_version, NULL, 10) < WITHOUT_DRIVER;
}

/* What programs get unless they ask for something else. */
static int64_t default_mhz(const struct call *c, unsigned int type)
{
    if (type == CLOCK_VIDEO) {
        return ANSWER_NONE;
    }
    return known(type == CLOCK_MEMORY ? c->model->memory_clock_mhz : c->model->board.default_mhz);
}

/* What was asked for, or else the default. */
static int64_t application_mhz(const struct call *c, unsigned int type)
{
    const struct sim_settings *set = &c->state->settings;
    int32_t mhz = type == CLOCK_MEMORY  ? set->app_memory_mhz
                  : type == CLOCK_VIDEO ? 0
                                        : set->app_sm_mhz;
    return mhz > 0 ? mhz : default_mhz(c, type);
}

enum clock_kind { KIND_NOW, KIND_MAX, KIND_APPLICATION, KIND_DEFAULT, KIND_BOOST };

static enum nvml_return get_clock(const char *name, struct nvml_device *device, unsigned int type,
                                  enum clock_kind kind, unsigned int *ret)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!ret || type >= CLOCK_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if ((kind == KIND_DEFAULT || kind == KIND_APPLICATION) && !clock_has_applications(&c)) {
        return NVML_ERROR_DEPRECATED;
    }
    int64_t mhz = kind == KIND_NOW           ? clock_now_mhz(&c, type)
                  : kind == KIND_APPLICATION ? application_mhz(&c, type)
                  : kind == KIND_DEFAULT     ? default_mhz(&c, type)
                                             : max_mhz(c.model, type);
    if (mhz == ANSWER_NONE) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *ret = (unsigned int)mhz;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetClockInfo(struct nvml_device *device, unsigned int type,
                                        unsigned int *ret)
{
    return get_clock(__func__, device, type, KIND_NOW, ret);
}

enum nvml_return nvmlDeviceGetMaxClockInfo(struct nvml_device *device, unsigned int type,
                                           unsigned int *ret)
{
    return get_clock(__func__, device, type, KIND_MAX, ret);
}

enum nvml_return nvmlDeviceGetApplicationsClock(struct nvml_device *device, unsigned int type,
                                                unsigned int *ret)
{
    return get_clock(__func__, device, type, KIND_APPLICATION, ret);
}

enum nvml_return nvmlDeviceGetDefaultApplicationsClock(struct nvml_device *device,
                                                       unsigned int type, unsigned int *ret)
{
    return get_clock(__func__, device, type, KIND_DEFAULT, ret);
}

enum nvml_return nvmlDeviceGetMaxCustomerBoostClock(struct nvml_device *device, unsigned int type,
                                                    unsigned int *ret)
{
    return get_clock(__func__, device, type, KIND_BOOST, ret);
}

enum nvml_return nvmlDeviceGetClock(struct nvml_device *device, unsigned int type, unsigned int id,
                                    unsigned int *ret)
{
    /* Current, application target, application default, customer's highest boost. */
    static const enum clock_kind kinds[] = {KIND_NOW, KIND_APPLICATION, KIND_DEFAULT, KIND_BOOST};
    bool is_ok = id < ARRAY_SIZE(kinds);
    return get_clock(__func__, device, type, is_ok ? kinds[id] : KIND_NOW, is_ok ? ret : NULL);
}

/* Only P0 is simulated. */
enum nvml_return nvmlDeviceGetMinMaxClockOfPState(struct nvml_device *device, unsigned int type,
                                                  unsigned int pstate, unsigned int *min,
                                                  unsigned int *max)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!min || !max || type >= CLOCK_COUNT || pstate > 15) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int64_t highest = max_mhz(c.model, type);
    if (pstate != 0 || highest == ANSWER_NONE || type == CLOCK_VIDEO) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *max = (unsigned int)highest;
    *min = type == CLOCK_MEMORY ? *max : (unsigned int)clock_least_mhz(c.model);
    return NVML_SUCCESS;
}

/* Fills what fits of a list; *count holds the room and gets the need. */
static enum nvml_return put_list(unsigned int *count, unsigned int *list, unsigned int n,
                                 const unsigned int *from)
{
    unsigned int room = *count;
    for (unsigned int i = 0; i < n && i < room; i++) {
        list[i] = from[i];
    }
    *count = n;
    return n > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetSupportedMemoryClocks(struct nvml_device *device, unsigned int *count,
                                                    unsigned int *clocks)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!count || (*count > 0 && !clocks)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (c.model->memory_clock_mhz <= 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    int low = c.model->board.memory_low_mhz;
    const unsigned int both[] = {(unsigned int)c.model->memory_clock_mhz,
                                 low > 0 ? (unsigned int)low : 0};
    return put_list(count, clocks, low > 0 ? 2 : 1, both);
}

unsigned int clock_list_mhz(const struct sim_model *m, unsigned int memory_mhz,
                            unsigned int ret[CLOCK_MAX_STEPS])
{
    int top = memory_mhz > INT32_MAX                       ? 0
              : (int)memory_mhz == m->memory_clock_mhz     ? m->sm_clock_mhz
              : (int)memory_mhz == m->board.memory_low_mhz ? m->board.low_sm_mhz
                                                           : 0;
    /* Steps of 15 MHz, of 7.5 on Blackwell (shown without the half). */
    int halves_per_step = m->arch >= SIM_ARCH_BLACKWELL ? 15 : 30;
    unsigned int n = 0;
    for (int halves = 2 * top; top > 0 && halves >= 2 * clock_least_mhz(m) && n < CLOCK_MAX_STEPS;
         halves -= halves_per_step) {
        ret[n++] = (unsigned int)halves / 2;
    }
    return n;
}

enum nvml_return nvmlDeviceGetSupportedGraphicsClocks(struct nvml_device *device,
                                                      unsigned int memory_mhz, unsigned int *count,
                                                      unsigned int *clocks)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!count || (*count > 0 && !clocks)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (c.model->sm_clock_mhz <= 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    unsigned int steps[CLOCK_MAX_STEPS];
    unsigned int n = clock_list_mhz(c.model, memory_mhz, steps);
    return n == 0 ? NVML_ERROR_NOT_FOUND : put_list(count, clocks, n, steps);
}
