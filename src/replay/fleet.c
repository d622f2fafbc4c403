#include "replay/fleet.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "plan/plan.h"
#include <string.h>

static int parse_group(char *text, struct replay_fleet *fleet, struct error *err)
{
    struct replay_group *g = &fleet->groups[fleet->count];
    char *colon = strchr(text, ':');
    int64_t n = 1;
    int r = 0;

    if (fleet->count == REPLAY_GROUPS_MAX) {
        return err_set(err, EINVAL, "more than %d models", REPLAY_GROUPS_MAX);
    }
    if (colon) {
        *colon = '\0';
        r = text_parse_int(colon + 1, "number of GPUs", 1, 1000000, &n, err);
    }
    if (r == 0) {
        r = replay_model_geometry(text, &g->geometry, err);
    }
    if (r == 0) {
        text_copy(g->model, sizeof(g->model), text);
        g->gpus = (uint32_t)n;
        fleet->gpus += g->gpus;
        fleet->count++;
    }
    return r;
}

int replay_fleet_parse(const char *text, struct replay_fleet *ret, struct error *err)
{
    CLEANUP(freep) char *copy = xstrdup(text);
    CLEANUP(freep) struct replay_fleet *fleet = xcalloc(1, sizeof(*fleet));
    char *rest = copy, *part;
    int r = 0;

    while (r == 0 && (part = strsep(&rest, ","))) {
        r = parse_group(part, fleet, err);
    }
    if (r < 0) {
        return r;
    }
    *ret = *fleet;
    return 0;
}
