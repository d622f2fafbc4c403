/* Numbered fields.  Each answers for itself; a field that is not known is NOT_SUPPORTED. */
#include "base/clock.h"
#include "sim/answer.h"
#include "sim/meter.h"
#include "sim/nvml.h"
#include <stdlib.h>
#include <string.h>

static enum nvml_return put_uint(struct nvml_field_value *v, int64_t value)
{
    if (value < 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    v->value_type = NVML_VALUE_UINT;
    v->value.ui = (unsigned int)value;
    return NVML_SUCCESS;
}

static enum nvml_return put_ull(struct nvml_field_value *v, int64_t value)
{
    if (value < 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    v->value_type = NVML_VALUE_ULONGLONG;
    v->value.ull = (unsigned long long)value;
    return NVML_SUCCESS;
}

static int64_t milliwatts(int watts)
{
    return watts > 0 ? (int64_t)watts * 1000 : -1;
}

static enum nvml_return put_signed(struct nvml_field_value *v, bool is_known, int value)
{
    if (!is_known) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    v->value_type = NVML_VALUE_SINT;
    v->value.si = value;
    return NVML_SUCCESS;
}

static int driver(const struct call *c)
{
    return (int)strtol(c->file->driver_version, NULL, 10);
}

/* Driver 580.82 gave fields 251 to 273 other numbers (so nvml-wrapper, and nvml.h 13.1). */
static bool is_renumbered(const struct call *c)
{
    const char *minor = strchr(c->file->driver_version, '.');
    return driver(c) > 580 || (driver(c) == 580 && minor && strtol(minor + 1, NULL, 10) >= 82);
}

/* Of the GPU, the module that it sits on, or its memory.  In captures only Hopper and later have
 * the GPU's average and, of the memory, the average alone; nothing has a module's. */
static enum nvml_return power_field(const struct call *c, struct nvml_field_value *v,
                                    bool is_average)
{
    enum { SCOPE_GPU, SCOPE_MODULE, SCOPE_MEMORY, SCOPE_BASE, SCOPE_COUNT };
    const double memory_share = 0.05; /* of the board's limit: near what captures at rest show */
    double w = meter_power_w(c->model, c->gpu);
    if (v->scope_id >= SCOPE_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    bool has_average = c->model->arch >= SIM_ARCH_HOPPER ||
                       (c->model->arch == SIM_ARCH_ADA && v->scope_id == SCOPE_GPU);
    if (w < 0 || v->scope_id == SCOPE_MODULE || v->scope_id == SCOPE_BASE ||
        (is_average && !has_average) || (!is_average && v->scope_id == SCOPE_MEMORY)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    w = v->scope_id == SCOPE_MEMORY ? c->model->power_w * memory_share : w;
    return put_uint(v, (int64_t)(w * 1000));
}

/* Temperatures at which something happens, as distances from the limit; up to Ampere there is none,
 * and nvmlDeviceGetTemperatureThreshold() has the temperatures themselves. */
static enum nvml_return margin_field(const struct call *c, struct nvml_field_value *v)
{
    const struct sim_board *b = &c->model->board;
    switch (v->field_id) {
    case 193:
        return put_signed(v, b->limit_c > 0, b->limit_c - b->shutdown_c);
    case 194:
        return put_signed(v, b->limit_c > 0, b->limit_c - b->slowdown_c);
    case 195:
        return put_signed(v, b->limit_c > 0 && b->memory_max_c >= 0, b->memory_max_c);
    default:
        return put_signed(v, b->limit_c > 0, b->limit_c - b->gpu_max_c);
    }
}

static enum nvml_return memory_temperature(struct call *c, struct nvml_field_value *v)
{
    enum { WARMER_C = 5 };
    meter_update(c->model, c->gpu);
    return put_uint(v, c->model->board.memory_max_c >= 0 ? (int64_t)c->gpu->meter.celsius + WARMER_C
                                                         : -1);
}

/* Power and temperature. */
static enum nvml_return physical_field(struct call *c, struct nvml_field_value *v)
{
    bool is_gpu = v->scope_id == 0;
    switch (v->field_id) {
    case 82: /* MEMORY_TEMP */
        return memory_temperature(c, v);
    case 83:  /* TOTAL_ENERGY_CONSUMPTION, mJ */
    case 191: /* ENERGY */
        meter_update(c->model, c->gpu);
        return put_ull(v, is_gpu && c->model->power_w > 0 ? (int64_t)c->gpu->meter.energy_mj : -1);
    case 185: /* POWER_AVERAGE */
    case 186: /* POWER_INSTANT */
        return power_field(c, v, v->field_id == 185);
    case 187: /* POWER_MIN_LIMIT */
        return put_uint(v, is_gpu ? milliwatts(c->model->power_min_w) : -1);
    case 188: /* POWER_MAX_LIMIT */
    case 189: /* POWER_DEFAULT_LIMIT */
        return put_uint(v, is_gpu ? milliwatts(c->model->power_w) : -1);
    case 190: /* POWER_CURRENT_LIMIT */
    case 192: /* POWER_REQUESTED_LIMIT */
        return put_uint(v, is_gpu && c->model->power_w > 0
                               ? (int64_t)(meter_limit_w(c->model, c->gpu) * 1000 + 0.5)
                               : -1);
    case 193: /* TEMPERATURE_SHUTDOWN_TLIMIT, SLOWDOWN, MEM_MAX, GPU_MAX */
    case 194:
    case 195:
    case 196:
        return margin_field(c, v);
    default:
        return nvlink_field(c, v);
    }
}

/* Memory errors and what was done about them. */
static enum nvml_return error_field(struct call *c, struct nvml_field_value *v)
{
    switch (v->field_id) {
    case 1: /* ECC_CURRENT */
        return put_uint(v, !c->state->is_ecc_off);
    case 2: /* ECC_PENDING */
        return put_uint(v, !c->state->is_ecc_off_pending);
    case 3:  /* ECC_SBE_VOL_TOTAL */
    case 5:  /* ECC_SBE_AGG_TOTAL */
    case 11: /* ECC_SBE_VOL_DEV */
    case 22: /* ECC_SBE_AGG_DEV */
        return put_ull(v, c->state->is_ecc_off ? -1 : (int64_t)c->gpu->ecc_corrected);
    case 4:  /* ECC_DBE_VOL_TOTAL */
    case 6:  /* ECC_DBE_AGG_TOTAL */
    case 12: /* ECC_DBE_VOL_DEV */
    case 23: /* ECC_DBE_AGG_DEV */
        return put_ull(v, c->state->is_ecc_off ? -1 : (int64_t)c->gpu->ecc_uncorrected);
    case 29: /* RETIRED_SBE, DBE, PENDING, PENDING_SBE, PENDING_DBE: pages, up to Turing */
    case 30:
    case 31:
    case 92:
    case 93:
        return put_uint(v, c->model->arch < SIM_ARCH_AMPERE ? 0 : -1);
    case 142: /* REMAPPED_COR, UNC, PENDING, FAILURE: rows, since Ampere */
    case 143:
    case 144:
    case 145:
        return put_uint(v, c->model->arch >= SIM_ARCH_AMPERE && slice_gi_count(c->state) == 0 ? 0
                                                                                              : -1);
    default:
        return physical_field(c, v);
    }
}

/* Replays, their roll-over, recoveries, and 173 to 183: eleven kinds of errors.  None happen. */
static bool is_pcie_counter(unsigned int id)
{
    return id == 94 || id == 95 || id == 169 || (id >= 173 && id <= 183);
}

static enum nvml_return field(struct call *c, struct nvml_field_value *v)
{
    enum { RECOVERY_DRIVER = 570, REASONS_DRIVER = 575 };
    if (is_pcie_counter(v->field_id)) {
        return put_uint(v, 0);
    }
    switch (v->field_id) {
    case 74: /* PERF_POLICY_POWER, THERMAL, SYNC_BOOST: nothing ever slowed it down */
    case 75:
    case 76:
        return put_ull(v, 0);
    case 170: /* C2C_LINK_COUNT */
        return put_uint(v, 0);
    case 184: /* IS_RESETLESS_MIG_SUPPORTED */
        return put_uint(v, sim_model_has_mig(c->model) && c->model->arch >= SIM_ARCH_HOPPER);
    case 199: /* IS_MIG_MODE_INDEPENDENT_MIG_QUERY_CAPABLE */
        return put_uint(v, sim_model_has_mig(c->model) && call_knows_profiles(c, false));
    case 226: /* RESET_STATUS */
    case 227: /* DRAIN_AND_RESET_STATUS: what the recovery action replaced */
        return driver(c) >= RECOVERY_DRIVER ? NVML_ERROR_DEPRECATED : put_uint(v, 0);
    case 230: /* GET_GPU_RECOVERY_ACTION: none */
        return put_uint(v, driver(c) >= RECOVERY_DRIVER ? 0 : -1);
    case 251: /* CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN, HW_THERM, HW_POWER_BRAKE, in ns */
    case 252:
    case 253:
        return put_ull(v, driver(c) >= REASONS_DRIVER && !is_renumbered(c) ? 0 : -1);
    case 269: /* the same later */
    case 270:
    case 271:
        return put_ull(v, is_renumbered(c) ? 0 : -1);
    default:
        return error_field(c, v);
    }
}

enum nvml_return nvmlDeviceGetFieldValues(struct nvml_device *device, int count,
                                          struct nvml_field_value *values)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!values || count <= 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (int i = 0; i < count; i++) {
        values[i].timestamp_us = clock_real_ms() * 1000;
        values[i].latency_us = 0;
        memset(&values[i].value, 0, sizeof(values[i].value));
        values[i].nvml_return = c.is_mig ? NVML_ERROR_NOT_SUPPORTED : field(&c, &values[i]);
    }
    return NVML_SUCCESS;
}
