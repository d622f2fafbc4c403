/* What an administrator may set: modes, the power limit, and clocks.  Root only, also while MIG is
 * on (the board is one).  Modes that are not said to stay, limits and clocks are gone with the next
 * reset or reboot. */
#include "sim/answer.h"
#include "sim/nvml.h"

enum nvml_return setting_change(const char *name, struct nvml_device *device, unsigned int want,
                                unsigned int value, unsigned int highest, call_change *change)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, want | CALL_ROOT);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    struct setting setting = {value};
    return value > highest ? NVML_ERROR_INVALID_ARGUMENT : call_mutate(&c, 0, change, &setting);
}

static unsigned int value_of(const void *arg)
{
    return ((const struct setting *)arg)->value;
}

static enum nvml_return persistence_change(struct call *c, struct sim_state *next, void *arg)
{
    (void)c;
    next->persistence = (int32_t)value_of(arg);
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceSetPersistenceMode(struct nvml_device *device, unsigned int mode)
{
    return setting_change(__func__, device, CALL_GPU, mode, 1, persistence_change);
}

/* With MIG on of a slice alone; EXCLUSIVE_THREAD is gone. */
static enum nvml_return compute_mode_change(struct call *c, struct sim_state *next, void *arg)
{
    enum { EXCLUSIVE_THREAD = 1 };
    unsigned int mode = value_of(arg);
    if (mode == EXCLUSIVE_THREAD || (!c->is_mig && next->mig_mode)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    if (!c->is_mig) {
        next->compute_mode = (int32_t)mode;
        return NVML_SUCCESS;
    }
    struct sim_ci *ci = &next->gis[c->gi].cis[c->ci];
    if (!ci->is_used || ci->serial != c->serial) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    ci->compute_mode = (uint8_t)mode;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceSetComputeMode(struct nvml_device *device, unsigned int mode)
{
    return setting_change(__func__, device, CALL_GPU | CALL_MIG, mode, 3, compute_mode_change);
}

/* Comes into force with the next reset or reboot. */
static enum nvml_return ecc_change(struct call *c, struct sim_state *next, void *arg)
{
    (void)c;
    next->is_ecc_off_pending = !value_of(arg);
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceSetEccMode(struct nvml_device *device, unsigned int mode)
{
    return setting_change(__func__, device, CALL_GPU, mode, 1, ecc_change);
}

/* Who may set application clocks; auto-boosted clocks, the other such API, went with Kepler. */
enum { API_APPLICATION_CLOCKS, API_AUTO_BOOST, API_COUNT };

static enum nvml_return restriction_change(struct call *c, struct sim_state *next, void *arg)
{
    (void)c;
    next->settings.are_app_clocks_free = !value_of(arg);
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceSetAPIRestriction(struct nvml_device *device, unsigned int api,
                                             unsigned int is_restricted)
{
    if (api == API_APPLICATION_CLOCKS) {
        return setting_change(__func__, device, CALL_GPU, is_restricted, 1, restriction_change);
    }
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_ROOT);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    return api < API_COUNT ? NVML_ERROR_NOT_SUPPORTED : NVML_ERROR_INVALID_ARGUMENT;
}

enum nvml_return nvmlDeviceGetAPIRestriction(struct nvml_device *device, unsigned int api,
                                             unsigned int *is_restricted)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc == NVML_SUCCESS && (api >= API_COUNT || !is_restricted)) {
        rc = NVML_ERROR_INVALID_ARGUMENT;
    }
    if (rc == NVML_SUCCESS && (api == API_AUTO_BOOST || !clock_has_applications(&c))) {
        rc = NVML_ERROR_NOT_SUPPORTED;
    }
    if (rc == NVML_SUCCESS) {
        *is_restricted = !c.state->settings.are_app_clocks_free;
    }
    return rc;
}

static enum nvml_return settings_change(struct call *c, struct sim_state *next, void *arg)
{
    (void)c;
    next->settings = *(const struct sim_settings *)arg;
    return NVML_SUCCESS;
}

/* Begins a call that sets a limit or clocks; *ret are the settings so far. */
static enum nvml_return begin(struct call *c, const char *name, struct nvml_device *device,
                              unsigned int want, struct sim_settings *ret)
{
    enum nvml_return rc = call_device(c, name, device, CALL_GPU | want);
    if (rc == NVML_SUCCESS) {
        *ret = c->state->settings;
    }
    return rc;
}

static enum nvml_return set_limit(const char *name, struct nvml_device *device, unsigned int mw)
{
    CLEANUP(call_end) struct call c = {0};
    struct sim_settings set;
    enum nvml_return rc = begin(&c, name, device, CALL_ROOT, &set);
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
    const unsigned int version = NVML_STRUCT_VERSION(struct nvml_power_value, 2);
    if (value && value->version == version && value->scope == 0) {
        return set_limit(__func__, device, value->mw);
    }
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_ROOT);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    return value && value->version != version ? NVML_ERROR_ARGUMENT_VERSION_MISMATCH
                                              : NVML_ERROR_INVALID_ARGUMENT;
}

#define LIMIT_TDP 0xFFFFFF01u
#define LIMIT_UNLIMITED 0xFFFFFF02u

/* Either two numbers, which are brought into the range of the board, or two words for "as it
 * likes"; those tell nothing apart that is simulated. */
static enum nvml_return clock_range(unsigned int least, unsigned int most, int32_t lowest,
                                    int32_t highest, int32_t ret[2])
{
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
    enum nvml_return rc = begin(&c, name, device, CALL_ROOT, &set);
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
    return lock_clocks(__func__, device, false, LIMIT_UNLIMITED, LIMIT_UNLIMITED);
}

enum nvml_return nvmlDeviceResetMemoryLockedClocks(struct nvml_device *device)
{
    return lock_clocks(__func__, device, true, LIMIT_UNLIMITED, LIMIT_UNLIMITED);
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
    enum nvml_return rc = begin(&c, name, device, 0, &set);
    if (rc == NVML_SUCCESS && !set.are_app_clocks_free) {
        rc = call_needs_root(&c);
    }
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
