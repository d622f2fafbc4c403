/* What an administrator may set: the power limit, and clocks.  Root only, also while MIG is on (the
 * board is one); gone with the next reset or reboot. */
#include "sim/answer.h"
#include "sim/nvml.h"

static enum nvml_return settings_change(struct call *c, struct sim_state *next, void *arg)
{
    (void)c;
    next->settings = *(const struct sim_settings *)arg;
    return NVML_SUCCESS;
}

/* Begins a call that sets something; *ret are the settings so far. */
static enum nvml_return begin(struct call *c, const char *name, struct nvml_device *device,
                              struct sim_settings *ret)
{
    enum nvml_return rc = call_device(c, name, device, CALL_GPU | CALL_ROOT);
    if (rc == NVML_SUCCESS) {
        *ret = c->state->settings;
    }
    return rc;
}

static enum nvml_return set_limit(const char *name, struct nvml_device *device, unsigned int mw)
{
    CLEANUP(call_end) struct call c = {0};
    struct sim_settings set;
    enum nvml_return rc = begin(&c, name, device, &set);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    int64_t least = (int64_t)c.model->power_min_w * 1000, most = (int64_t)c.model->power_w * 1000;
    if (least <= 0 || most <= 0) {
        return NVML_ERROR_NOT_SUPPORTED; /* the range is not known */
    }
    if (mw < least || mw > most) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    set.power_limit_mw = (int32_t)mw;
    return call_mutate(&c, 0, settings_change, &set);
}

enum nvml_return nvmlDeviceSetPowerManagementLimit(struct nvml_device *device, unsigned int mw)
{
    return set_limit(__func__, device, mw);
}

enum nvml_return nvmlDeviceSetPowerManagementLimit_v2(struct nvml_device *device,
                                                      const struct nvml_power_value *value)
{
    if (!value || value->version != NVML_STRUCT_VERSION(struct nvml_power_value, 2) ||
        value->scope != 0) {
        CLEANUP(call_end) struct call c = {0};
        enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_ROOT);
        if (rc != NVML_SUCCESS) {
            return rc;
        }
        return !value || value->version == NVML_STRUCT_VERSION(struct nvml_power_value, 2)
                   ? NVML_ERROR_INVALID_ARGUMENT
                   : NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    return set_limit(__func__, device, value->mw);
}

/* Either two numbers, which are brought into the range of the board, or two words for "as it
 * likes"; those tell nothing apart that is simulated. */
static enum nvml_return clock_range(unsigned int least, unsigned int most, int32_t lowest,
                                    int32_t highest, int32_t ret[2])
{
    enum { LIMIT_TDP = 0xFFFFFF01u, LIMIT_UNLIMITED = 0xFFFFFF02u };
    bool is_word[2] = {least == LIMIT_TDP || least == LIMIT_UNLIMITED,
                       most == LIMIT_TDP || most == LIMIT_UNLIMITED};
    if (is_word[0] && is_word[1]) {
        ret[0] = ret[1] = 0;
        return NVML_SUCCESS;
    }
    if (is_word[0] || is_word[1] || least > most || most > INT32_MAX) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    const int32_t asked[2] = {(int32_t)least, (int32_t)most};
    for (int i = 0; i < 2; i++) {
        ret[i] = asked[i] < lowest ? lowest : asked[i] > highest ? highest : asked[i];
    }
    return NVML_SUCCESS;
}

static enum nvml_return lock_clocks(const char *name, struct nvml_device *device, bool is_memory,
                                    unsigned int least, unsigned int most)
{
    CLEANUP(call_end) struct call c = {0};
    struct sim_settings set;
    enum nvml_return rc = begin(&c, name, device, &set);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    const struct sim_model *m = c.model;
    int32_t highest = is_memory ? m->memory_clock_mhz : m->sm_clock_mhz;
    int32_t lowest = !is_memory                    ? clock_least_mhz(m)
                     : m->board.memory_low_mhz > 0 ? m->board.memory_low_mhz
                                                   : highest;
    if (highest <= 0 || (is_memory && m->arch < SIM_ARCH_AMPERE)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    int32_t range[2];
    rc = clock_range(least, most, lowest, highest, range);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    *(is_memory ? &set.least_memory_mhz : &set.least_sm_mhz) = range[0];
    *(is_memory ? &set.most_memory_mhz : &set.most_sm_mhz) = range[1];
    return call_mutate(&c, 0, settings_change, &set);
}

enum nvml_return nvmlDeviceSetGpuLockedClocks(struct nvml_device *device, unsigned int least,
                                              unsigned int most)
{
    return lock_clocks(__func__, device, false, least, most);
}

enum nvml_return nvmlDeviceSetMemoryLockedClocks(struct nvml_device *device, unsigned int least,
                                                 unsigned int most)
{
    return lock_clocks(__func__, device, true, least, most);
}

enum nvml_return nvmlDeviceResetGpuLockedClocks(struct nvml_device *device)
{
    return lock_clocks(__func__, device, false, 0xFFFFFF02u, 0xFFFFFF02u);
}

enum nvml_return nvmlDeviceResetMemoryLockedClocks(struct nvml_device *device)
{
    return lock_clocks(__func__, device, true, 0xFFFFFF02u, 0xFFFFFF02u);
}

/* 0 and 0 stand for the default. */
static bool is_supported(const struct sim_model *m, unsigned int memory_mhz, unsigned int sm_mhz)
{
    unsigned int list[CLOCK_MAX_STEPS];
    unsigned int count = clock_list_mhz(m, memory_mhz, list);
    for (unsigned int i = 0; i < count; i++) {
        if (list[i] == sm_mhz) {
            return true;
        }
    }
    return memory_mhz == 0 && sm_mhz == 0;
}

static enum nvml_return set_application_clocks(const char *name, struct nvml_device *device,
                                               unsigned int memory_mhz, unsigned int sm_mhz)
{
    CLEANUP(call_end) struct call c = {0};
    struct sim_settings set;
    enum nvml_return rc = begin(&c, name, device, &set);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!clock_has_applications(&c)) {
        return NVML_ERROR_DEPRECATED;
    }
    if (c.model->sm_clock_mhz <= 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    if (!is_supported(c.model, memory_mhz, sm_mhz)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    set.app_memory_mhz = (int32_t)memory_mhz;
    set.app_sm_mhz = (int32_t)sm_mhz;
    return call_mutate(&c, 0, settings_change, &set);
}

/* Only what nvmlDeviceGetSupportedGraphicsClocks() lists may be asked for. */
enum nvml_return nvmlDeviceSetApplicationsClocks(struct nvml_device *device,
                                                 unsigned int memory_mhz, unsigned int sm_mhz)
{
    bool is_reset = memory_mhz == 0 && sm_mhz == 0; /* which is not how one resets them */
    return set_application_clocks(__func__, device, is_reset ? 1 : memory_mhz, sm_mhz);
}

enum nvml_return nvmlDeviceResetApplicationsClocks(struct nvml_device *device)
{
    return set_application_clocks(__func__, device, 0, 0);
}

/* Both kinds of errors; the counters count since power on, which is all that is simulated. */
enum nvml_return nvmlDeviceClearEccErrorCounts(struct nvml_device *device, unsigned int counters)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_ROOT);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (counters > 1) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    c.gpu->ecc_corrected = c.gpu->ecc_uncorrected = 0;
    return NVML_SUCCESS;
}
