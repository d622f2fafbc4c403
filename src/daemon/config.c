/* The configuration file.
 *
 * The tables below are the only place that knows keys, ranges and defaults.  Reading goes in three
 * steps: YAML to a tree that remembers lines and columns (base/tree.h), the tree against the tables
 * (api/fields.h), then the values into the struct; where the file is silent the table's default is
 * read in its place.  What a table cannot say (one kind of match per rule, ...) is checked last. */
#include "daemon/config.h"
#include "api/fields.h"
#include "base/buf.h"
#include "base/path.h"
#include "base/text.h"
#include "base/tree.h"
#include "http/http.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define MAX_FILE_BYTES TREE_MAX_BYTES
#define SAMPLING_LEAST_MS 100 /* the driver measures activity over no less */
#define S(s) ((int64_t)(s) * 1000)
#define DAY S(86400)
#define TEXT(n, hi, fl, d, t)                                                                      \
    {.name = n, .type = FIELD_STRING, .min = 1, .max = hi, .flags = fl, .def = d, .doc = t}
#define WORD(n, hi, fl, d, t)                                                                      \
    {.name = n, .type = FIELD_WORD, .min = 1, .max = hi, .flags = fl, .def = d, .doc = t}
#define INT(n, lo, hi, d, t)                                                                       \
    {.name = n, .type = FIELD_INT, .min = lo, .max = hi, .def = d, .doc = t}
#define ENUM(n, w, d, t) {.name = n, .type = FIELD_ENUM, .words = w, .def = d, .doc = t}
#define TIME(n, lo, hi, fl, d, t)                                                                  \
    {.name = n, .type = FIELD_DURATION, .min = lo, .max = hi, .flags = fl, .def = d, .doc = t}
#define OBJ(n, s, t) {.name = n, .type = FIELD_OBJECT, .set = &(s), .doc = t}
#define SET(var, ...)                                                                              \
    static const struct field var##_fields[] = {__VA_ARGS__, {0}};                                 \
    static const struct field_set var = {.name = #var, .fields = var##_fields}

SET(socket_set,
    TEXT("path", 107, FIELD_NULLABLE, "null",
         "The unix socket. Default: /run/tangram/tangram.sock; as an ordinary user "
         "$XDG_RUNTIME_DIR/tangram/tangram.sock."),
    WORD("mode", 4, 0, "\"0666\"",
         "Its permissions, in octal. Who may do what is decided by user, not by this."),
    WORD("group", 63, FIELD_NULLABLE, "null", "Its group, by name or number."));

SET(match_set,
    TEXT("uuid", 95, 0, NULL, "\"GPU-...\" as nvidia-smi -L prints it."),
    TEXT("pci", 31, 0, NULL, "PCI address, as in \"3b:00.0\" or \"0000:3b:00.0\"."),
    INT("index", 0, 9999, NULL, "The driver's index. It may change when hardware does."),
    TEXT("model", 95, 0, NULL, "Part of the GPU's name, any case, as in A100."));

SET(gpu_set,
    OBJ("match", match_set, "Which GPUs: by one of uuid, pci, index, model; all when left out."),
    {.name = "managed", .type = FIELD_BOOL, .def = "true",
     .doc = "May tangram cut and lease it? Others are only shown."},
    ENUM("mig_mode", "keep|on-demand", "\"keep\"",
         "on-demand: tangram may switch MIG on and off when a request needs it."));

SET(tenant_set,
    TEXT("name", POOL_TENANT_SIZE - 1, FIELD_REQUIRED, NULL, "What leases carry."),
    {.name = "users", .type = FIELD_WORD, .min = 1, .max = 63, .flags = FIELD_LIST,
     .list_max = 1024, .doc = "Users by name or number."},
    {.name = "groups", .type = FIELD_WORD, .min = 1, .max = 63, .flags = FIELD_LIST,
     .list_max = 1024, .doc = "Groups by name or number; users come first."},
    ENUM("role", "viewer|tenant|operator", "\"tenant\"",
         "viewer: reads; tenant: leases for itself; operator: everything."),
    {.name = "max_queued", .type = FIELD_INT, .max = 100000, .flags = FIELD_NULLABLE,
     .def = "null", .doc = "Instead of limits.max_queued_per_tenant."},
    {.name = "max_compute", .type = FIELD_INT, .max = 1000000, .flags = FIELD_NULLABLE,
     .def = "null", .doc = "Instead of limits.max_compute_per_tenant."});

SET(limits_set,
    INT("max_queued_per_tenant", 0, 100000, "100",
        "Requests of one tenant that may wait; 0: none may wait."),
    INT("max_compute_per_tenant", 0, 1000000, "0",
        "Compute slots that one tenant may hold at once; 0: no limit."),
    TIME("default_ttl", S(1), 3650 * DAY, FIELD_NULLABLE, "null",
         "Time limit of leases that ask for none; null: no limit."),
    TIME("max_ttl", S(1), 3650 * DAY, FIELD_NULLABLE, "null",
         "Longest time limit that may be asked for; null: no limit."),
    INT("connections", 16, 65536, "2048", "Open connections; root gets in beyond it."));

SET(queue_set,
    INT("backfill_depth", 0, 10000, "64",
        "How many requests behind one that is blocked are looked at; 0: strictly in order."),
    TIME("age_step", 0, 365 * DAY, 0, "\"10m\"",
         "Waiting this long is worth one step of priority, and who waits for quota is not passed "
         "by the same tenant any more; 0: never."));

SET(plan_set,
    ENUM("policy",
         "reach|align|value|fgd|first-fit|round-robin|best-fit|worst-fit|mfi|max-cc|lowest-slot",
         "\"align\"",
         "Where to cut. reach takes the least from those who come later; align does so too, and "
         "looks at when leases with a time limit end; value learns what free slots are worth; the "
         "others are for comparison."),
    ENUM("objective", "requests|slices|priority", "\"slices\"",
         "Who is served first behind the head of the queue when not all fit, and for whom holders "
         "are asked to move. requests: the small ones; slices: all in turn; priority: who is "
         "worth most, a slot counting double with each priority."));

SET(moves_set,
    INT("max_per_request", 0, PLAN_MOVES_MAX, "1",
        "How many slices of movable leases may be asked to move so that one request fits, of one "
        "slice or several; 0: none. Each needs its holder's consent, and the first gains most."),
    TIME("answer_within", S(1), DAY, 0, "\"60s\"",
         "A holder who has not answered after this long has refused."),
    TIME("pause", 0, 365 * DAY, 0, "\"10m\"",
         "A lease whose holder refused, or did not answer, is not asked again for this long; one "
         "that was asked in vain for a 32nd of it, and twice as long each time."),
    INT("consolidate_per_hour", 0, 3600, "0",
        "While nobody waits, so many leases an hour may be asked to move so that the rest of the "
        "GPUs is of more use; 0: none."));

SET(timing_set,
    TIME("call_timeout", S(1), S(3600), 0, "\"30s\"",
         "A driver call that takes longer makes its GPU unresponsive."),
    TIME("scan_interval", S(1), DAY, 0, "\"60s\"",
         "How often each GPU is looked at without a reason."));

SET(history_set,
    INT("keep_events", 100, 1000000, "10000", "Events that are kept."),
    INT("keep_leases", 0, 1000000, "1000", "Ended leases that are remembered."),
    INT("keep_usage_days", 1, 3660, "100",
        "Days for which usage is kept by day and profile; totals by tenant are kept for ever."));

SET(sampling_set,
    TIME("interval", 0, S(3600), 0, "\"30s\"",
         "How often what leased slices do is looked at (memory, activity, processes), 100ms at "
         "least; 0s: never."),
    TIME("advice_after", S(1), 365 * DAY, 0, "\"10m\"",
         "A lease must have been looked at for this long before anything is advised about it."),
    TIME("idle_after", S(1), 365 * DAY, 0, "\"2h\"",
         "A lease that did nothing for this long is named by tangram usage --advice."));

SET(cost_set,
    {.name = "compute_slot_hour", .type = FIELD_NUMBER, .def = "0",
     .doc = "Price of one compute slot held for an hour."},
    {.name = "memory_gib_hour", .type = FIELD_NUMBER, .def = "0",
     .doc = "Price of one GiB of GPU memory held for an hour."},
    WORD("currency", 7, FIELD_NULLABLE, "null",
         "What the prices are in, as in EUR; null: usage is counted but has no price."));

SET(root_set,
    OBJ("socket", socket_set, "Where clients come in."),
    TEXT("listen", 63, FIELD_NULLABLE, "null",
         "HOST:PORT of a loopback address for TCP, with tokens; null: no TCP."),
    TEXT("state_dir", 4000, FIELD_NULLABLE, "null",
         "Where the journal lies. Default: /var/lib/tangram; as an ordinary user "
         "$XDG_STATE_HOME/tangram."),
    TEXT("driver", 4000, 0, "\"libnvidia-ml.so.1\"", "NVIDIA's management library."),
    TEXT("simulate", 4000, FIELD_NULLABLE, "null",
         "Simulated GPUs instead of real ones, as in H100-SXM5-80GB:2,A30."),
    ENUM("log_level", "error|warn|info|debug", "\"info\"", "What is logged."),
    {.name = "gpus", .type = FIELD_OBJECT, .set = &gpu_set, .flags = FIELD_LIST, .list_max = 256,
     .doc = "Rules for GPUs; the first that matches counts. Without one: managed, mig_mode keep."},
    {.name = "tenants", .type = FIELD_OBJECT, .set = &tenant_set, .flags = FIELD_LIST,
     .list_max = 4096,
     .doc = "Who is who on the unix socket. Without an entry a user is a tenant by the user's "
            "name, and root an operator."},
    OBJ("limits", limits_set, "Limits."), OBJ("queue", queue_set, "The queue."),
    OBJ("plan", plan_set, "The planner."),
    OBJ("moves", moves_set, "Movable leases (tangram lease --movable)."),
    OBJ("timing", timing_set, "The driver."),
    OBJ("history", history_set, "What is remembered."),
    OBJ("sampling", sampling_set,
        "How leased slices are watched, for tangram usage; nothing is sampled without a lease."),
    OBJ("cost", cost_set, "What usage costs (tangram usage)."));

/* --- values --------------------------------------------------------------------------------- */

/* The member, or its default as the table says (then *ret_own has it); NULL for
 * null and nothing. */
static const json_t *value_of(const struct field_set *set, const json_t *object, const char *name,
                              json_t **ret_own)
{
    const json_t *v = json_object_get(object, name);
    const struct field *f = fields_find(set, name);

    if (!v && f && f->def) {
        v = *ret_own = json_loads(f->def, JSON_DECODE_ANY, NULL);
    }
    return json_is_null(v) ? NULL : v;
}

/* Text of the member, or of a number in its place; owned by the caller, NULL when there is none. */
static char *text_of(const struct field_set *set, const json_t *object, const char *name)
{
    CLEANUP(json_decrefp) json_t *own = NULL;
    const json_t *v = value_of(set, object, name, &own);

    if (json_is_integer(v)) {
        return xasprintf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
    }
    return xstrdup(json_string_value(v));
}

static int64_t int_of(const struct field_set *set, const json_t *object, const char *name,
                      int64_t otherwise)
{
    CLEANUP(json_decrefp) json_t *own = NULL;
    const json_t *v = value_of(set, object, name, &own);

    return json_is_integer(v) ? json_integer_value(v) : otherwise;
}

static bool bool_of(const struct field_set *set, const json_t *object, const char *name)
{
    CLEANUP(json_decrefp) json_t *own = NULL;

    return json_is_true(value_of(set, object, name, &own));
}

static int64_t ms_of(const struct field_set *set, const json_t *object, const char *name)
{
    CLEANUP(freep) char *text = text_of(set, object, name);
    int64_t ms = 0;

    if (text) {
        text_parse_duration_ms(text, &ms, NULL);
    }
    return ms;
}

/* Position of the member's word in the field's words. */
static unsigned enum_of(const struct field_set *set, const json_t *object, const char *name)
{
    CLEANUP(freep) char *text = text_of(set, object, name);
    const char *at = fields_find(set, name)->words;
    unsigned n = 0;

    for (; *at; n++) {
        size_t len = strcspn(at, "|");
        if (text && strlen(text) == len && !strncmp(at, text, len)) {
            return n;
        }
        at += len + (at[len] == '|');
    }
    return 0;
}

static char **list_of(const json_t *list)
{
    size_t n = json_array_size(list);
    char **words = xcalloc(n + 1, sizeof(*words));

    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        words[i] = json_is_integer(v) ? xasprintf("%" JSON_INTEGER_FORMAT, json_integer_value(v))
                                      : xstrdup(json_string_value(v));
    }
    return words;
}

/* --- from the tree into the struct ---------------------------------------------------------- */

/* Where an ordinary user's files go: $NAME/tangram, or HOME and `below`. */
static char *user_dir(const char *variable, const char *below)
{
    const char *dir = getenv(variable);

    if (dir && *dir == '/') {
        return xasprintf("%s/tangram", dir);
    }
    CLEANUP(freep) char *home = path_home();
    return xasprintf("%s/%s/tangram", home, below);
}

static void default_paths(struct daemon_config *c)
{
    bool is_root = geteuid() == 0;

    if (!c->state_dir) {
        c->state_dir = is_root ? xstrdup("/var/lib/tangram")
                               : user_dir("XDG_STATE_HOME", ".local/state");
    }
    if (!c->socket_path && is_root) {
        c->socket_path = xstrdup("/run/tangram/tangram.sock");
    } else if (!c->socket_path) {
        CLEANUP(freep) char *dir = user_dir("XDG_RUNTIME_DIR", ".local/state");
        c->socket_path = xasprintf("%s/tangram.sock", dir);
    }
}

static void read_match(const json_t *match, struct config_gpu_rule *rule)
{
    static const struct {
        const char *name;
        enum config_match match;
    } kinds[] = {{"uuid", CONFIG_MATCH_UUID},
                 {"pci", CONFIG_MATCH_PCI},
                 {"index", CONFIG_MATCH_INDEX},
                 {"model", CONFIG_MATCH_MODEL}};

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (json_object_get(match, kinds[i].name)) {
            rule->match = kinds[i].match;
            rule->value = text_of(&match_set, match, kinds[i].name);
        }
    }
}

static void read_gpus(struct daemon_config *c, const json_t *list)
{
    c->gpu_count = json_array_size(list);
    c->gpus = xcalloc(c->gpu_count + 1, sizeof(*c->gpus));
    for (size_t i = 0; i < c->gpu_count; i++) {
        const json_t *rule = json_array_get(list, i);
        read_match(json_object_get(rule, "match"), &c->gpus[i]);
        c->gpus[i].is_managed = bool_of(&gpu_set, rule, "managed");
        c->gpus[i].mig_policy =
            enum_of(&gpu_set, rule, "mig_mode") ? POOL_MIG_ON_DEMAND : POOL_MIG_KEEP;
    }
}

static void read_tenants(struct daemon_config *c, const json_t *list)
{
    c->tenant_count = json_array_size(list);
    c->tenants = xcalloc(c->tenant_count + 1, sizeof(*c->tenants));
    for (size_t i = 0; i < c->tenant_count; i++) {
        const json_t *tenant = json_array_get(list, i);
        c->tenants[i] = (struct config_tenant){
            .name = text_of(&tenant_set, tenant, "name"),
            .users = list_of(json_object_get(tenant, "users")),
            .groups = list_of(json_object_get(tenant, "groups")),
            .role = enum_of(&tenant_set, tenant, "role"),
            .max_queued = int_of(&tenant_set, tenant, "max_queued", -1),
            .max_compute = int_of(&tenant_set, tenant, "max_compute", -1),
        };
    }
}

static void read_pool(struct daemon_config *c, const json_t *root)
{
    const json_t *limits = json_object_get(root, "limits"), *queue = json_object_get(root, "queue");
    const json_t *plan = json_object_get(root, "plan"), *history = json_object_get(root, "history");
    const json_t *moves = json_object_get(root, "moves");

    pool_settings_default(&c->pool);
    c->pool.plan.policy = enum_of(&plan_set, plan, "policy");
    c->pool.plan.objective = enum_of(&plan_set, plan, "objective");
    c->pool.max_queued_per_tenant =
        (unsigned)int_of(&limits_set, limits, "max_queued_per_tenant", 0);
    c->pool.max_compute_per_tenant =
        (unsigned)int_of(&limits_set, limits, "max_compute_per_tenant", 0);
    c->pool.default_ttl_ms = ms_of(&limits_set, limits, "default_ttl");
    c->pool.max_ttl_ms = ms_of(&limits_set, limits, "max_ttl");
    c->pool.backfill_depth = (unsigned)int_of(&queue_set, queue, "backfill_depth", 0);
    c->pool.age_step_ms = ms_of(&queue_set, queue, "age_step");
    c->pool.max_moves = (unsigned)int_of(&moves_set, moves, "max_per_request", 0);
    c->pool.move_answer_ms = ms_of(&moves_set, moves, "answer_within");
    c->pool.consolidate_per_hour =
        (unsigned)int_of(&moves_set, moves, "consolidate_per_hour", 0);
    c->pool.move_pause_ms = ms_of(&moves_set, moves, "pause");
    c->pool.keep_ended = (unsigned)int_of(&history_set, history, "keep_leases", 0);
    c->connections_max = (unsigned)int_of(&limits_set, limits, "connections", 0);
    c->keep_events = (unsigned)int_of(&history_set, history, "keep_events", 0);
    c->keep_usage_days = (unsigned)int_of(&history_set, history, "keep_usage_days", 0);
}

static double number_of(const struct field_set *set, const json_t *object, const char *name)
{
    CLEANUP(json_decrefp) json_t *own = NULL;

    return json_number_value(value_of(set, object, name, &own));
}

static void read_sampling(struct daemon_config *c, const json_t *sampling)
{
    c->sample_interval_ms = ms_of(&sampling_set, sampling, "interval");
    c->advice_after_ms = ms_of(&sampling_set, sampling, "advice_after");
    c->idle_after_ms = ms_of(&sampling_set, sampling, "idle_after");
}

static void read_cost(struct daemon_config *c, const json_t *cost)
{
    CLEANUP(freep) char *currency = text_of(&cost_set, cost, "currency");

    text_copy(c->rates.currency, sizeof(c->rates.currency), currency);
    c->rates.compute_slot_hour = number_of(&cost_set, cost, "compute_slot_hour");
    c->rates.memory_gib_hour = number_of(&cost_set, cost, "memory_gib_hour");
}

/* A checked tree ({}: defaults only) into an empty struct. */
static void read_root(struct daemon_config *c, const json_t *root)
{
    const json_t *socket = json_object_get(root, "socket");
    const json_t *timing = json_object_get(root, "timing");
    CLEANUP(freep) char *mode = text_of(&socket_set, socket, "mode");

    c->socket_path = text_of(&socket_set, socket, "path");
    c->socket_mode = mode ? (mode_t)strtoul(mode, NULL, 8) : 0666;
    c->socket_group = text_of(&socket_set, socket, "group");
    c->listen = text_of(&root_set, root, "listen");
    c->state_dir = text_of(&root_set, root, "state_dir");
    c->driver = text_of(&root_set, root, "driver");
    c->simulate = text_of(&root_set, root, "simulate");
    c->log_level = enum_of(&root_set, root, "log_level");
    read_gpus(c, json_object_get(root, "gpus"));
    read_tenants(c, json_object_get(root, "tenants"));
    read_pool(c, root);
    read_cost(c, json_object_get(root, "cost"));
    read_sampling(c, json_object_get(root, "sampling"));
    c->call_timeout_ms = ms_of(&timing_set, timing, "call_timeout");
    c->scan_interval_ms = ms_of(&timing_set, timing, "scan_interval");
    default_paths(c);
}

/* --- what a table cannot say ---------------------------------------------------------------- */

static int check_mode(const struct tree_doc *doc, struct error *err)
{
    const json_t *socket = json_object_get(tree_doc_root(doc), "socket");
    CLEANUP(freep) char *mode = text_of(&socket_set, socket, "mode");

    if (mode && strspn(mode, "01234567") != strlen(mode)) {
        return tree_doc_fail(doc, "/socket/mode", err,
                             "mode: must be an octal number, as in \"0666\"");
    }
    return 0;
}

static int check_matches(const struct tree_doc *doc, struct error *err)
{
    const json_t *gpus = json_object_get(tree_doc_root(doc), "gpus");

    for (size_t i = 0; i < json_array_size(gpus); i++) {
        const json_t *match = json_object_get(json_array_get(gpus, i), "match");
        char pointer[64];
        snprintf(pointer, sizeof(pointer), "/gpus/%zu/match", i);
        if (match && json_object_size(match) != 1) {
            return tree_doc_fail(doc, pointer, err,
                                 "match: must have exactly one of uuid, pci, index, model");
        }
        if (!match && i + 1 < json_array_size(gpus)) {
            snprintf(pointer, sizeof(pointer), "/gpus/%zu", i + 1);
            return tree_doc_fail(doc, pointer, err,
                                 "gpus: this rule never counts, the one before it matches all");
        }
    }
    return 0;
}

/* Has an entry before this one the same text (a tenant's name, or a member of its list)? */
static bool is_taken(const json_t *tenants, size_t before, const char *list, const json_t *text)
{
    for (size_t i = 0; i < before; i++) {
        const json_t *tenant = json_array_get(tenants, i);
        const json_t *words = json_object_get(tenant, list);
        if (json_equal(words, text)) {
            return true;
        }
        for (size_t k = 0; k < json_array_size(words); k++) {
            if (json_equal(json_array_get(words, k), text)) {
                return true;
            }
        }
    }
    return false;
}

static int check_tenants(const struct tree_doc *doc, struct error *err)
{
    const json_t *tenants = json_object_get(tree_doc_root(doc), "tenants");

    for (size_t i = 0; i < json_array_size(tenants); i++) {
        const json_t *tenant = json_array_get(tenants, i);
        const json_t *users = json_object_get(tenant, "users");
        char pointer[64];
        if (is_taken(tenants, i, "name", json_object_get(tenant, "name"))) {
            snprintf(pointer, sizeof(pointer), "/tenants/%zu/name", i);
            return tree_doc_fail(doc, pointer, err, "name: another tenant has this name already");
        }
        for (size_t k = 0; k < json_array_size(users); k++) {
            if (is_taken(tenants, i, "users", json_array_get(users, k))) {
                snprintf(pointer, sizeof(pointer), "/tenants/%zu/users/%zu", i, k);
                return tree_doc_fail(doc, pointer, err,
                                     "users: this user belongs to another tenant already");
            }
        }
    }
    return 0;
}

static int check_ttl(const struct tree_doc *doc, struct error *err)
{
    const json_t *limits = json_object_get(tree_doc_root(doc), "limits");
    int64_t most = ms_of(&limits_set, limits, "max_ttl");

    if (most && ms_of(&limits_set, limits, "default_ttl") > most) {
        return tree_doc_fail(doc, "/limits/default_ttl", err,
                             "default_ttl: must not be longer than max_ttl");
    }
    return 0;
}

static int check_interval(const struct tree_doc *doc, struct error *err)
{
    const json_t *sampling = json_object_get(tree_doc_root(doc), "sampling");
    int64_t interval_ms = ms_of(&sampling_set, sampling, "interval");

    if (interval_ms && interval_ms < SAMPLING_LEAST_MS) {
        return tree_doc_fail(doc, "/sampling/interval", err,
                             "interval: must be 0 or at least %dms", SAMPLING_LEAST_MS);
    }
    return 0;
}

static int check_listen(const struct tree_doc *doc, struct error *err)
{
    const char *where = json_string_value(json_object_get(tree_doc_root(doc), "listen"));
    struct error why = {0};

    if (where && http_check_listen(where, &why) < 0) {
        return tree_doc_fail(doc, "/listen", err, "listen: %s", why.msg);
    }
    return 0;
}

static int check_doc(const struct tree_doc *doc, struct error *err)
{
    static int (*const checks[])(const struct tree_doc *doc, struct error *err) = {
        check_mode, check_matches, check_tenants, check_ttl, check_interval, check_listen};
    char pointer[FIELD_POINTER_BYTES] = "";
    struct error why = {0};

    if (json_is_null(tree_doc_root(doc))) {
        return 0; /* an empty file */
    }
    int checked = fields_check(&root_set, tree_doc_root(doc), pointer, &why);
    if (checked < 0) {
        return checked == -ENOENT ? tree_doc_fail_key(doc, pointer, err, "%s", why.msg)
                                  : tree_doc_fail(doc, pointer, err, "%s", why.msg);
    }
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
        int rc = checks[i](doc, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* --- the calls ------------------------------------------------------------------------------ */

void config_init(struct daemon_config *config)
{
    *config = (struct daemon_config){0};
    read_root(config, NULL);
}

static void free_words(char **words)
{
    for (size_t i = 0; words && words[i]; i++) {
        free(words[i]);
    }
    free(words);
}

void config_done(struct daemon_config *config)
{
    for (size_t i = 0; i < config->gpu_count; i++) {
        free(config->gpus[i].value);
    }
    for (size_t i = 0; i < config->tenant_count; i++) {
        free(config->tenants[i].name);
        free_words(config->tenants[i].users);
        free_words(config->tenants[i].groups);
    }
    free(config->gpus);
    free(config->tenants);
    free(config->path);
    free(config->socket_path);
    free(config->socket_group);
    free(config->listen);
    free(config->state_dir);
    free(config->driver);
    free(config->simulate);
    free(config->simulate_place);
    *config = (struct daemon_config){0};
}

int config_parse(struct daemon_config *config, const char *text, size_t len, const char *name,
                 struct error *err)
{
    CLEANUP(tree_doc_freep) struct tree_doc *doc = NULL;
    struct daemon_config found = {0};

    int rc = tree_from_yaml(text, len, name, &doc, err);
    if (rc == 0) {
        rc = check_doc(doc, err);
    }
    if (rc < 0) {
        return rc;
    }
    read_root(&found, tree_doc_root(doc));
    found.path = xstrdup(name);
    if (found.simulate) {
        struct error place = {0};
        tree_doc_fail(doc, "/simulate", &place, "simulate");
        found.simulate_place = xstrdup(place.msg);
    }
    config_done(config);
    *config = found;
    return 0;
}

int config_load(struct daemon_config *config, const char *path, bool is_optional,
                struct error *err)
{
    CLEANUP(freep) char *text = NULL;
    size_t len = 0;

    int rc = tree_read_file(path, MAX_FILE_BYTES, &text, &len, err);
    if (rc == -ENOENT && is_optional) {
        return 0;
    }
    return rc < 0 ? rc : config_parse(config, text, len, path, err);
}

/* --- rules for GPUs ------------------------------------------------------------------------- */

struct pci_address {
    unsigned domain, bus, device, function;
};

static bool parse_pci(const char *s, struct pci_address *ret)
{
    struct pci_address a = {0};
    int n = 0;

    if (sscanf(s, "%8x:%2x:%2x.%1x%n", &a.domain, &a.bus, &a.device, &a.function, &n) == 4 &&
        !s[n]) {
        *ret = a;
        return true;
    }
    a.domain = 0;
    if (sscanf(s, "%2x:%2x.%1x%n", &a.bus, &a.device, &a.function, &n) == 3 && !s[n]) {
        *ret = a;
        return true;
    }
    return false;
}

static bool is_same_pci(const char *a, const char *b)
{
    struct pci_address x = {0}, y = {0};

    return parse_pci(a, &x) && parse_pci(b, &y) && x.domain == y.domain && x.bus == y.bus &&
           x.device == y.device && x.function == y.function;
}

static bool is_match(const struct config_gpu_rule *rule, const struct mig_gpu_info *info)
{
    int64_t index = -1;

    switch (rule->match) {
    case CONFIG_MATCH_UUID:
        return !strcasecmp(rule->value, info->uuid);
    case CONFIG_MATCH_PCI:
        return is_same_pci(rule->value, info->pci);
    case CONFIG_MATCH_INDEX:
        return !text_parse_int(rule->value, "", 0, UINT32_MAX, &index, NULL) &&
               (uint32_t)index == info->index;
    case CONFIG_MATCH_MODEL:
        return strcasestr(info->name, rule->value) != NULL;
    default:
        return true;
    }
}

struct config_gpu config_gpu_rule_for(const struct daemon_config *config,
                                      const struct mig_gpu_info *info)
{
    for (size_t i = 0; i < config->gpu_count; i++) {
        if (is_match(&config->gpus[i], info)) {
            return (struct config_gpu){config->gpus[i].is_managed, config->gpus[i].mig_policy};
        }
    }
    return (struct config_gpu){true, POOL_MIG_KEEP};
}

/* --- the reference -------------------------------------------------------------------------- */

/* "## text", wrapped: taking one "#" off every line makes a file with all defaults spelt out. */
static void print_comment(FILE *out, const char *indent, const char *text)
{
    size_t column = 0;

    for (const char *at = text; *at;) {
        size_t n = strcspn(at, " ");
        if (column && column + n + 1 > 90) {
            column = 0;
            fputc('\n', out);
        }
        column += column ? 0 : (size_t)fprintf(out, "##%s", indent);
        column += (size_t)fprintf(out, " %.*s", (int)n, at);
        at += n + (at[n] == ' ');
    }
    fputc('\n', out);
}

static const char *example_of(const char *name)
{
    static const struct {
        const char *name, *text;
    } examples[] = {
        {"gpus", "#gpus:\n"
                 "#  - match: {index: 0}\n"
                 "#    managed: false\n"
                 "#  - match: {model: H100}\n"
                 "#    mig_mode: on-demand\n"},
        {"tenants", "#tenants:\n"
                    "#  - name: vision\n"
                    "#    users: [alice, 1004]\n"
                    "#    groups: [vision]\n"
                    "#    max_compute: 7\n"
                    "#  - name: admins\n"
                    "#    groups: [sudo]\n"
                    "#    role: operator\n"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(examples); i++) {
        if (!strcmp(examples[i].name, name)) {
            return examples[i].text;
        }
    }
    return NULL;
}

/* What it means and, where that says more, what it takes. */
static void describe(const struct field *f, struct buf *ret)
{
    bool is_plain = f->set || f->type == FIELD_BOOL || f->type == FIELD_STRING ||
                    f->type == FIELD_WORD;

    buf_adds(ret, f->doc);
    if (!is_plain) {
        buf_adds(ret, " (");
        field_describe(f, ret);
        buf_adds(ret, ")");
    }
}

/* The members of a list's entries, as comments. */
static void print_members(FILE *out, const struct field_set *set, const char *indent)
{
    for (const struct field *f = set->fields; f->name; f++) {
        CLEANUP(buf_done) struct buf what = BUF_INIT(2048);
        buf_addf(&what, "%s: ", f->name);
        describe(f, &what);
        if (f->def) {
            buf_addf(&what, " Default: %s.", f->def);
        }
        print_comment(out, indent, what.data);
        if (f->set) {
            print_members(out, f->set, "     ");
        }
    }
}

static void print_set(FILE *out, const struct field_set *set, const char *indent)
{
    for (const struct field *f = set->fields; f->name; f++) {
        CLEANUP(buf_done) struct buf what = BUF_INIT(2048);
        const char *example = example_of(f->name);
        fputs(*indent ? "" : "\n", out);
        describe(f, &what);
        print_comment(out, indent, what.data);
        if (f->flags & FIELD_LIST) {
            print_members(out, f->set, "  ");
            fputs("## For example:\n", out);
            fputs(example ? example : "", out);
        } else if (f->set) {
            fprintf(out, "#%s:\n", f->name);
            print_set(out, f->set, "  ");
        } else {
            fprintf(out, "#%s%s: %s\n", indent, f->name, f->def ? f->def : "null");
        }
    }
}

void config_print_reference(FILE *out)
{
    fputs("## The configuration of tangramd: /etc/tangram/tangram.yaml.\n"
          "## Every key is here with its default, commented out.  Durations read 30s, 5m, 1h30m.\n"
          "## Check a file with: tangramd --check-config --config FILE\n",
          out);
    print_set(out, &root_set, "");
}
