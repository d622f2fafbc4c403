#include "sim/model.h"
#include <string.h>

const struct sim_model *sim_model_find(const char *key)
{
    for (unsigned int i = 0; i < sim_model_count; i++) {
        if (strcmp(sim_models[i].key, key) == 0) {
            return &sim_models[i];
        }
    }
    return NULL;
}

int sim_model_gi_by_enum(const struct sim_model *m, unsigned int enum_value)
{
    for (int i = 0; i < m->gi_count; i++) {
        if ((unsigned int)m->gis[i].enum_value == enum_value) {
            return i;
        }
    }
    return -1;
}

int sim_model_gi_by_id(const struct sim_model *m, unsigned int id)
{
    for (int i = 0; i < m->gi_count; i++) {
        if ((unsigned int)m->gis[i].id == id) {
            return i;
        }
    }
    return -1;
}

int sim_gi_ci_by_enum(const struct sim_gi_profile *gi, unsigned int enum_value)
{
    for (int i = 0; i < gi->ci_count; i++) {
        if ((unsigned int)gi->cis[i].enum_value == enum_value) {
            return i;
        }
    }
    return -1;
}

int sim_gi_ci_by_id(const struct sim_gi_profile *gi, unsigned int id)
{
    for (int i = 0; i < gi->ci_count; i++) {
        if ((unsigned int)gi->cis[i].id == id) {
            return i;
        }
    }
    return -1;
}

const struct sim_gi_profile *sim_model_whole(const struct sim_model *m)
{
    for (int i = 0; i < m->gi_count; i++) {
        if (m->gis[i].size == m->slots && m->gis[i].capabilities == 0) {
            return &m->gis[i];
        }
    }
    return NULL;
}
