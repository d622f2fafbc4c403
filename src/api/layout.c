/* The layout as a mig-parted file: what is there, and what shall be there.
 *
 * The file says what it wants of GPUs by index and model; the pool wants, for each GPU, counts of
 * profiles of its own table.  Everything that is wrong with the request is said before the pool
 * hears of it: 422 with the place in the file. */
#include "api/call.h"
#include "api/partedfile.h"
#include "base/text.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* --- export --------------------------------------------------------------------------------- */

/* What one GPU holds, as mig-devices. */
struct devices {
    struct {
        const char *name;
        unsigned count;
    } row[MIG_MAX_INSTANCES * MIG_MAX_COMPUTE];
    unsigned count;
};

static void count_device(struct devices *d, const char *name)
{
    unsigned i = 0;

    while (i < d->count && strcmp(d->row[i].name, name) != 0) {
        i++;
    }
    d->row[i].name = name;
    d->row[i].count = i < d->count ? d->row[i].count + 1 : 1;
    d->count += i == d->count;
}

/* Slices that are there and stay: not those being made or destroyed. */
static void list_devices(const struct pool_gpu *gpu, struct devices *d)
{
    d->count = 0;
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        bool is_there = s->state != POOL_SLICE_CREATING && s->state != POOL_SLICE_DESTROYING;
        for (unsigned c = 0; c < s->ci_count && is_there; c++) {
            count_device(d, s->ci[c].name);
        }
    }
}

static bool is_same(const struct devices *a, const struct devices *b)
{
    for (unsigned i = 0; i < a->count; i++) {
        unsigned k = 0;
        while (k < b->count && strcmp(a->row[i].name, b->row[k].name) != 0) {
            k++;
        }
        if (k == b->count || a->row[i].count != b->row[k].count) {
            return false;
        }
    }
    return a->count == b->count;
}

static bool is_exported(const struct pool_gpu *gpu)
{
    return gpu->is_managed && gpu->info.is_mig_capable;
}

/* The entry of a GPU and of all behind it that look the same; `done` has those that are out. */
static void add_entry(struct json_out *w, const struct pool *pool, unsigned first, bool *done)
{
    const struct pool_gpu *gpu = pool_gpu(pool, first);
    struct devices mine, other;

    list_devices(gpu, &mine);
    json_out_object(w, NULL);
    json_out_array(w, "devices");
    for (unsigned i = first; i < pool_gpu_count(pool); i++) {
        const struct pool_gpu *it = pool_gpu(pool, i);
        list_devices(it, &other);
        if (is_exported(it) && !done[i] && is_same(&mine, &other) &&
            it->info.is_mig_enabled == gpu->info.is_mig_enabled) {
            json_out_int(w, NULL, it->info.index);
            done[i] = true;
        }
    }
    json_out_end_array(w);
    json_out_bool(w, "mig-enabled", gpu->info.is_mig_enabled);
    json_out_object(w, "mig-devices");
    for (unsigned i = 0; i < mine.count; i++) {
        json_out_int(w, mine.row[i].name, mine.row[i].count);
    }
    json_out_end_object(w);
    json_out_end_object(w);
}

void api_get_layout(struct api_call *call)
{
    const struct pool *pool = call->api->host.pool;
    CLEANUP(freep) bool *done = xcalloc(pool_gpu_count(pool) + 1, sizeof(*done));
    struct json_out w = api_begin(call->api);

    json_out_object(&w, NULL);
    json_out_str(&w, "version", "v1");
    json_out_object(&w, "mig-configs");
    json_out_array(&w, "current");
    for (unsigned i = 0; i < pool_gpu_count(pool); i++) {
        if (is_exported(pool_gpu(pool, i)) && !done[i]) {
            add_entry(&w, pool, i, done);
        }
    }
    json_out_end_array(&w);
    json_out_end_object(&w);
    json_out_end_object(&w);
    api_reply(call, 200);
}

/* --- from the file to targets --------------------------------------------------------------- */

struct resolver {
    const struct pool *pool;
    const struct parted_config *config;
    char pointer[FIELD_POINTER_BYTES];
    struct error err;
};

static void point_at(struct resolver *r, const struct parted_entry *e, const char *rest)
{
    snprintf(r->pointer, sizeof(r->pointer), "/mig-configs/%s/%u%s", r->config->name,
             (unsigned)(e - r->config->entry), rest);
}

static const struct pool_gpu *gpu_at_index(const struct pool *pool, uint32_t index)
{
    for (unsigned i = 0; i < pool_gpu_count(pool); i++) {
        if (pool_gpu(pool, i)->info.index == index) {
            return pool_gpu(pool, i);
        }
    }
    return NULL;
}

/* GPUs that are named one by one must be there (unless the entry is for one model of several: the
 * same file serves machines of many kinds) and be ours. */
static int check_devices(struct resolver *r, const struct parted_entry *e)
{
    for (unsigned i = 0; i < e->device_count; i++) {
        const struct pool_gpu *gpu = gpu_at_index(r->pool, e->device[i]);
        char rest[32];
        snprintf(rest, sizeof(rest), "/devices/%u", i);
        point_at(r, e, rest);
        if (!gpu && e->filter_count) {
            continue;
        }
        if (!gpu) {
            return err_set(&r->err, EINVAL, "devices: there is no GPU %u here", e->device[i]);
        }
        if (!gpu->is_managed && parted_find(r->config, gpu->info.index,
                                            gpu->info.pci_device_id) == e) {
            return err_set(&r->err, EINVAL,
                           "devices: GPU %u is not managed by tangram, as the configuration says "
                           "(gpus: managed: false)",
                           e->device[i]);
        }
    }
    return 0;
}

/* Adds a profile to the target, or to what is wanted of it already. */
static void add_want(struct pool_target *t, int profile, int ci_profile, unsigned count)
{
    unsigned i = 0;

    while (i < t->want_count &&
           (t->want[i].profile != profile || t->want[i].ci_profile != ci_profile)) {
        i++;
    }
    t->want[i].profile = profile;
    t->want[i].ci_profile = ci_profile;
    t->want[i].count = i < t->want_count ? t->want[i].count + count : count;
    t->want_count += i == t->want_count;
}

static int resolve_wants(struct resolver *r, const struct parted_entry *e,
                         const struct pool_gpu *gpu, struct pool_target *t)
{
    for (unsigned i = 0; i < e->want_count; i++) {
        struct mig_want want = {0};
        struct error why = {0};
        char rest[80];
        int profile = MIG_PROFILE_NONE, ci = MIG_PROFILE_NONE;
        snprintf(rest, sizeof(rest), "/mig-devices/%s", e->want[i].profile);
        point_at(r, e, rest);
        if (mig_want_parse(e->want[i].profile, &want, &why) < 0 ||
            mig_want_resolve(&want, gpu->geometry, &profile, &ci, &why) < 0) {
            return err_set(&r->err, EINVAL, "GPU %u (%s): %.200s", gpu->info.index, gpu->info.name,
                           why.msg);
        }
        if (!want.compute_instance_slices) {
            ci = MIG_PROFILE_NONE; /* the whole slice */
        }
        if (e->want[i].count) {
            add_want(t, profile, ci, e->want[i].count);
        }
    }
    return 0;
}

/* 1: a target was added, 0: nothing to say of this GPU. */
static int resolve_gpu(struct resolver *r, const struct pool_gpu *gpu, struct pool_target *t)
{
    const struct parted_entry *e =
        parted_find(r->config, gpu->info.index, gpu->info.pci_device_id);

    if (!e || !gpu->is_managed || (!gpu->info.is_mig_capable && !e->is_mig_enabled)) {
        return 0;
    }
    point_at(r, e, "/mig-enabled");
    if (!gpu->info.is_mig_capable) {
        return err_set(&r->err, EINVAL,
                       "mig-enabled: GPU %u (%s) cannot do MIG; leave it out with devices or "
                       "device-filter", gpu->info.index, gpu->info.name);
    }
    if (e->is_mig_enabled && e->want_count && !gpu->geometry) {
        return err_set(&r->err, EINVAL,
                       "GPU %u (%s): the driver does not tell what it can be cut into%s",
                       gpu->info.index, gpu->info.name,
                       gpu->info.is_mig_enabled ? "" : " while MIG is off; switch it on first");
    }
    *t = (struct pool_target){.gpu = gpu->id, .is_mig_enabled = e->is_mig_enabled};
    int rc = resolve_wants(r, e, gpu, t);
    return rc < 0 ? rc : 1;
}

/* *ret (owned by the caller) has room for every GPU.  The number of targets, or -EINVAL. */
static int resolve(struct resolver *r, struct pool_target **ret)
{
    unsigned gpus = pool_gpu_count(r->pool);
    struct pool_target *targets = xcalloc(gpus + 1, sizeof(*targets));
    int count = 0, rc = 0;

    for (unsigned i = 0; i < r->config->entry_count && rc == 0; i++) {
        rc = check_devices(r, &r->config->entry[i]);
    }
    for (unsigned i = 0; i < gpus && rc >= 0; i++) {
        rc = resolve_gpu(r, pool_gpu(r->pool, i), &targets[count]);
        count += rc == 1;
    }
    if (rc < 0) {
        free(targets);
        return rc;
    }
    *ret = targets;
    return count;
}

/* --- apply ---------------------------------------------------------------------------------- */

static void add_changes(struct json_out *w, const char *name, const struct pool_change *change,
                        unsigned count, unsigned gpu, int kind)
{
    json_out_array(w, name);
    for (unsigned i = 0; i < count; i++) {
        const struct pool_change *c = &change[i];
        if (c->gpu != gpu || (int)c->kind != kind) {
            continue;
        }
        json_out_object(w, NULL);
        api_add_placement(w, "placement", c->start, c->size);
        json_out_str(w, "profile", c->profile_name);
        json_out_end_object(w);
    }
    json_out_end_array(w);
}

static const char *mode_change(const struct pool_change *change, unsigned count, unsigned gpu)
{
    for (unsigned i = 0; i < count; i++) {
        if (change[i].gpu == gpu && change[i].kind == POOL_CHANGE_MODE) {
            return change[i].is_mig_enabled ? "enable" : "disable";
        }
    }
    return NULL;
}

char *api_changes_text(const struct pool *pool)
{
    unsigned count = 0;
    const struct pool_change *change = pool_last_changes(pool, &count);
    struct buf b = BUF_INIT(API_OUT_BYTES);
    struct json_out w = {.b = &b};

    json_out_array(&w, NULL);
    for (unsigned g = 0; g < pool_gpu_count(pool); g++) {
        unsigned k = 0;
        while (k < count && change[k].gpu != g) {
            k++;
        }
        if (k == count) {
            continue;
        }
        json_out_object(&w, NULL);
        json_out_int(&w, "gpu_index", pool_gpu(pool, g)->info.index);
        json_out_str(&w, "gpu_uuid", pool_gpu(pool, g)->info.uuid);
        json_out_str(&w, "mig_mode", mode_change(change, count, g));
        add_changes(&w, "keep", change, count, g, POOL_CHANGE_KEEP);
        add_changes(&w, "create", change, count, g, POOL_CHANGE_CREATE);
        add_changes(&w, "destroy", change, count, g, POOL_CHANGE_DESTROY);
        json_out_end_object(&w);
    }
    json_out_end_array(&w);
    return buf_take(&b);
}

/* Is there more in it than what is kept? */
static bool has_changes(const json_t *gpus)
{
    size_t i = 0;
    json_t *gpu = NULL;

    json_array_foreach((json_t *)gpus, i, gpu) {
        if (json_is_string(json_object_get(gpu, "mig_mode")) ||
            json_array_size(json_object_get(gpu, "create")) ||
            json_array_size(json_object_get(gpu, "destroy"))) {
            return true;
        }
    }
    return false;
}

static void on_apply_reply(struct api_held *held, const struct pool_action *reply)
{
    struct api_call *call = &held->call;

    if (reply->answer != POOL_OK) {
        api_refuse(call, reply, api_more_blocking(held->blocking));
        return;
    }
    CLEANUP(json_decrefp) json_t *gpus = json_loads(held->changes, 0, NULL);
    struct json_out w = api_begin(call->api);
    json_out_object(&w, NULL);
    json_out_bool(&w, "changes", has_changes(gpus));
    json_out_id(&w, "operation", "op", reply->operation);
    json_out_raw(&w, "gpus", held->changes);
    json_out_end_object(&w);
    if (reply->operation) {
        api_set_location(call, "operations", "op", reply->operation);
    }
    api_reply(call, reply->operation ? 202 : 200);
}

void api_put_layout(struct api_call *call)
{
    CLEANUP(parted_config_freep) struct parted_config *config = NULL;
    CLEANUP(freep) struct pool_target *targets = NULL;
    struct resolver r = {.pool = call->api->host.pool};

    int rc = parted_parse(call->body, api_str(call->body, "config"), &config, r.pointer, &r.err);
    if (rc == 0) {
        r.config = config;
        rc = resolve(&r, &targets);
    }
    if (rc < 0) {
        api_problem(call, 422, "bad_field", api_more_pointer(r.pointer), "%s", r.err.msg);
        return;
    }
    struct pool_event event = {.kind = POOL_EV_APPLY,
                               .targets = targets,
                               .target_count = (unsigned)rc,
                               .is_dry_run = api_bool(call->query, "dry_run")};
    api_step(call, &event, on_apply_reply);
}
