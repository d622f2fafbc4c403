#include "sim/meter.h"
#include "base/clock.h"
#include <math.h>

/* Share of the board's limit that an idle GPU draws, and the range that work adds to it. */
#define IDLE_SHARE 0.12
#define WORK_SHARE 0.80
#define IDLE_CELSIUS 30.0
#define WORK_CELSIUS 40.0
#define THERMAL_SECONDS 20.0
#define MEMORY_SHARE 0.5 /* DRAM traffic of a program that keeps all SMs busy */

static double clamp(double x)
{
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

/* Of one GPU instance: each program's SMs, as far as its compute instance has them. */
static double gi_activity(const struct sim_model *model, const struct sim_gpu *gpu, int gi)
{
    const struct sim_gi *g = &sim_gpu_state(gpu)->gis[gi];
    const struct sim_gi_profile *profile = &model->gis[g->profile];
    double per_ci[SIM_MAX_CI] = {0}, sum = 0;
    for (int i = 0; i < SIM_MAX_LOADS; i++) {
        const struct sim_load *l = &gpu->loads[i];
        if (l->is_used && l->gi == gi && l->ci >= 0) {
            per_ci[(int)l->ci] += l->sm_pct / 100.0;
        }
    }
    for (int k = 0; k < SIM_MAX_CI; k++) {
        if (g->is_used && g->cis[k].is_used) {
            sum += clamp(per_ci[k]) * profile->cis[g->cis[k].profile].sms / profile->sms;
        }
    }
    return clamp(sum);
}

double meter_activity(const struct sim_model *model, const struct sim_gpu *gpu, int gi)
{
    if (gi != SIM_WHOLE) {
        return gi_activity(model, gpu, gi);
    }
    const struct sim_state *state = sim_gpu_state(gpu);
    double sum = 0;
    for (int i = 0; i < SIM_MAX_LOADS; i++) {
        if (gpu->loads[i].is_used && gpu->loads[i].gi == SIM_WHOLE) {
            sum += gpu->loads[i].sm_pct / 100.0;
        }
    }
    for (int i = 0; i < SIM_MAX_GI; i++) {
        if (state->gis[i].is_used) {
            sum += gi_activity(model, gpu, i) * model->gis[state->gis[i].profile].sms / model->sms;
        }
    }
    return clamp(sum);
}

static double wanted_w(const struct sim_model *model, const struct sim_gpu *gpu)
{
    return model->power_w * (IDLE_SHARE + WORK_SHARE * meter_activity(model, gpu, SIM_WHOLE));
}

double meter_limit_w(const struct sim_model *model, const struct sim_gpu *gpu)
{
    int32_t set_mw = sim_gpu_state(gpu)->settings.power_limit_mw;
    return set_mw > 0 ? set_mw / 1000.0 : model->power_w;
}

bool meter_is_capped(const struct sim_model *model, const struct sim_gpu *gpu)
{
    return model->power_w > 0 && wanted_w(model, gpu) > meter_limit_w(model, gpu);
}

double meter_power_w(const struct sim_model *model, const struct sim_gpu *gpu)
{
    if (model->power_w <= 0) {
        return -1;
    }
    return meter_is_capped(model, gpu) ? meter_limit_w(model, gpu) : wanted_w(model, gpu);
}

void meter_update(const struct sim_model *model, struct sim_gpu *gpu)
{
    struct sim_meter *m = &gpu->meter;
    int64_t now = clock_mono_ns();
    double whole = meter_activity(model, gpu, SIM_WHOLE);
    if (m->at_ns == 0 || m->at_ns > now) {
        m->celsius = IDLE_CELSIUS;
        m->at_ns = now;
    }
    double s = (double)(now - m->at_ns) / 1e9;
    double power = meter_power_w(model, gpu);
    m->energy_mj += power > 0 ? power * s * 1000 : 0;
    double target = IDLE_CELSIUS + WORK_CELSIUS * whole;
    m->celsius = target + (m->celsius - target) * exp(-s / THERMAL_SECONDS);
    for (int i = 0; i < SIM_MAX_GI; i++) {
        double a = sim_gpu_state(gpu)->gis[i].is_used ? gi_activity(model, gpu, i) : 0;
        m->busy[i] += a * s;
        m->memory_busy[i] += a * MEMORY_SHARE * s;
    }
    m->busy[SIM_MAX_GI] += whole * s;
    m->memory_busy[SIM_MAX_GI] += whole * MEMORY_SHARE * s;
    m->at_ns = now;
}
