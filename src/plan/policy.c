/* Names of policies and objectives, and the default settings. */
#include "plan/plan.h"
#include <string.h>

static const char *const policies[PLAN_POLICY_COUNT] = {
    [PLAN_REACH] = "reach",
    [PLAN_ALIGN] = "align",
    [PLAN_VALUE] = "value",
    [PLAN_FGD] = "fgd",
    [PLAN_FIRST_FIT] = "first-fit",
    [PLAN_ROUND_ROBIN] = "round-robin",
    [PLAN_BEST_FIT] = "best-fit",
    [PLAN_WORST_FIT] = "worst-fit",
    [PLAN_MFI] = "mfi",
    [PLAN_MAX_CC] = "max-cc",
    [PLAN_LOWEST_SLOT] = "lowest-slot",
};

static const char *const objectives[PLAN_OBJECTIVE_COUNT] = {
    [PLAN_REQUESTS] = "requests",
    [PLAN_SLICES] = "slices",
    [PLAN_PRIORITY] = "priority",
};

static int find(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

const char *plan_policy_name(enum plan_policy policy)
{
    return policies[policy];
}

int plan_policy_parse(const char *name, enum plan_policy *ret, struct error *err)
{
    int i = find(policies, PLAN_POLICY_COUNT, name);

    if (i < 0) {
        return err_set(err, EINVAL,
                       "no policy \"%.40s\"; there are reach, align, value, fgd, "
                       "first-fit, round-robin, best-fit, worst-fit, mfi, max-cc and lowest-slot",
                       name);
    }
    *ret = (enum plan_policy)i;
    return 0;
}

bool plan_policy_looks_at_ends(enum plan_policy policy)
{
    return policy == PLAN_ALIGN || policy == PLAN_VALUE;
}

const char *plan_objective_name(enum plan_objective objective)
{
    return objectives[objective];
}

int plan_objective_parse(const char *name, enum plan_objective *ret, struct error *err)
{
    int i = find(objectives, PLAN_OBJECTIVE_COUNT, name);

    if (i < 0) {
        return err_set(err, EINVAL,
                       "no objective \"%.40s\"; there are requests, slices and priority", name);
    }
    *ret = (enum plan_objective)i;
    return 0;
}

void plan_settings_default(struct plan_settings *settings)
{
    *settings = (struct plan_settings){
        .policy = PLAN_ALIGN,
        .objective = PLAN_SLICES,
        .open_cost = 2,
        .mix_half_life = 1500,
    };
}
