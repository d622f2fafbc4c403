#include "sim/trouble.h"
#include "base/text.h"
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* From public measurements (A30: 130-160 ms to create, 100-110 ms to destroy, some tenths of a
 * second of IN_USE after a process ended) and the figures tangram is planned with.  The split
 * between GPU and compute instance, spread and tail are ours. */
static const struct sim_latency typical = {.create_gi_us = 100000,
                                           .create_ci_us = 30000,
                                           .destroy_gi_us = 130000,
                                           .destroy_ci_us = 30000,
                                           .each_us = 6000,
                                           .mode_us = 500000,
                                           .init_us = 10000,
                                           .in_use_us = 250000,
                                           .spread_pct = 10,
                                           .tail_pct = 1,
                                           .tail_factor = 4};

static const struct {
    const char *name;
    size_t offset;
    bool is_number;
} keys[] = {
    {"create-gi", offsetof(struct sim_latency, create_gi_us), false},
    {"create-ci", offsetof(struct sim_latency, create_ci_us), false},
    {"destroy-gi", offsetof(struct sim_latency, destroy_gi_us), false},
    {"destroy-ci", offsetof(struct sim_latency, destroy_ci_us), false},
    {"each", offsetof(struct sim_latency, each_us), false},
    {"mode", offsetof(struct sim_latency, mode_us), false},
    {"init", offsetof(struct sim_latency, init_us), false},
    {"in-use", offsetof(struct sim_latency, in_use_us), false},
    {"spread", offsetof(struct sim_latency, spread_pct), true},
    {"tail", offsetof(struct sim_latency, tail_pct), true},
    {"tail-factor", offsetof(struct sim_latency, tail_factor), true},
};

static int64_t *field(struct sim_latency *latency, size_t i)
{
    return (int64_t *)(void *)((char *)latency + keys[i].offset);
}

static int parse_part(char *part, struct sim_latency *latency, struct error *err)
{
    char *value = strchr(part, '=');
    if (!value) {
        return err_set(err, EINVAL, "latency '%s': write key=duration", part);
    }
    *value++ = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (strcmp(keys[i].name, part) != 0) {
            continue;
        }
        int64_t number = 0;
        int r = keys[i].is_number ? text_parse_int(value, part, 0, 100, &number, err)
                                  : text_parse_duration_ms(value, &number, err);
        if (r == 0) {
            *field(latency, i) = keys[i].is_number ? number : number * 1000;
        }
        return r;
    }
    return err_set(err, EINVAL,
                   "latency key '%s' is not one of create-gi create-ci destroy-gi destroy-ci each "
                   "mode init in-use spread tail tail-factor",
                   part);
}

int latency_parse(const char *text, struct sim_latency *ret, struct error *err)
{
    CLEANUP(freep) char *copy = xstrdup(text);
    struct sim_latency latency = {0};
    char *save = NULL;
    bool is_first = true;
    for (char *part = strtok_r(copy, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
        if (is_first && strcmp(part, "typical") == 0) {
            latency = typical;
        } else if (!is_first || strcmp(part, "none") != 0) {
            int r = parse_part(part, &latency, err);
            if (r < 0) {
                return r;
            }
        }
        is_first = false;
    }
    *ret = latency;
    return 0;
}

void latency_format(const struct sim_latency *latency, char *ret, size_t size)
{
    struct sim_latency copy = *latency;
    size_t n = (size_t)snprintf(ret, size, "none");
    for (size_t i = 0; i < ARRAY_SIZE(keys) && n < size; i++) {
        int64_t v = *field(&copy, i);
        if (v != 0) {
            n += (size_t)snprintf(ret + n, size - n, ",%s=%lld%s", keys[i].name,
                                  (long long)(keys[i].is_number ? v : v / 1000),
                                  keys[i].is_number ? "" : "ms");
        }
    }
}

int64_t latency_draw_us(const struct sim_file *file, struct sim_gpu *gpu, int64_t mean_us)
{
    if (mean_us == 0) {
        return 0;
    }
    const struct sim_latency *l = &file->latency;
    /* Two draws averaged: a hump, not a box. */
    int64_t a = sim_gpu_chance(file, gpu) % 2001, b = sim_gpu_chance(file, gpu) % 2001;
    int64_t us = mean_us + mean_us * l->spread_pct * ((a + b) / 2 - 1000) / 100000;
    if (sim_gpu_chance(file, gpu) % 100 < (uint32_t)l->tail_pct) {
        us *= l->tail_factor > 0 ? l->tail_factor : 1;
    }
    return us;
}

void latency_sleep_us(int64_t us)
{
    if (us <= 0) {
        return;
    }
    struct timespec left = {us / 1000000, us % 1000000 * 1000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

/* Finds the fault, counts it down; a copy in *ret.  False when the call goes on. */
static bool fault_take(struct sim_file *file, const char *call, int gpu, struct sim_fault *ret)
{
    bool is_found = false;
    sim_lock(&file->lock);
    for (int i = 0; i < SIM_MAX_FAULTS && !is_found; i++) {
        struct sim_fault *f = &file->faults[i];
        if (!f->is_used || (f->gpu >= 0 && f->gpu != gpu) || fnmatch(f->call, call, 0) != 0) {
            continue;
        }
        if (f->after > 0) {
            f->after--;
            continue;
        }
        *ret = *f;
        is_found = true;
        if (f->times > 0 && --f->times == 0) {
            f->is_used = false;
            __atomic_sub_fetch(&file->fault_count, 1, __ATOMIC_RELAXED);
        }
    }
    sim_unlock(&file->lock);
    return is_found;
}

/* Hangs in steps, so that `tangram-sim clear` frees who hangs. */
static void hang(struct sim_file *file, int64_t ms)
{
    uint32_t clears = __atomic_load_n(&file->fault_clears, __ATOMIC_RELAXED);
    for (int64_t t = 0; ms < 0 || t < ms; t += 10) {
        latency_sleep_us((ms < 0 || ms - t > 10 ? 10 : ms - t) * 1000);
        if (__atomic_load_n(&file->fault_clears, __ATOMIC_RELAXED) != clears) {
            return;
        }
    }
}

enum nvml_return fault_apply(struct sim_file *file, const char *call, int gpu)
{
    struct sim_fault fault;
    if (__atomic_load_n(&file->fault_count, __ATOMIC_RELAXED) == 0 ||
        !fault_take(file, call, gpu, &fault)) {
        return NVML_SUCCESS;
    }
    if (fault.hang_ms != 0) {
        hang(file, fault.hang_ms);
    }
    return fault.has_return ? (enum nvml_return)fault.code : NVML_SUCCESS;
}

int fault_add(struct sim_file *file, const struct sim_fault *fault, struct error *err)
{
    int r = err_set(err, ENOSPC, "there are %d faults already; `tangram-sim clear` removes them",
                    SIM_MAX_FAULTS);
    sim_lock(&file->lock);
    for (int i = 0; i < SIM_MAX_FAULTS && r < 0; i++) {
        if (!file->faults[i].is_used) {
            file->faults[i] = *fault;
            file->faults[i].is_used = true;
            __atomic_add_fetch(&file->fault_count, 1, __ATOMIC_RELAXED);
            r = 0;
        }
    }
    sim_unlock(&file->lock);
    return r;
}

void fault_clear(struct sim_file *file)
{
    sim_lock(&file->lock);
    memset(file->faults, 0, sizeof(file->faults));
    __atomic_store_n(&file->fault_count, 0, __ATOMIC_RELAXED);
    __atomic_add_fetch(&file->fault_clears, 1, __ATOMIC_RELAXED);
    sim_unlock(&file->lock);
}
