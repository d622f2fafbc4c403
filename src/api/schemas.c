/* Every shape that the API takes or gives, one table each.  Limits stand here and nowhere else. */
#include "api/schemas.h"

#define DAY_S 86400
#define TEN_YEARS_S (INT64_C(10) * 365 * DAY_S)
#define BIG INT64_C(9007199254740991) /* what every JSON reader keeps exact */
#define REQ FIELD_REQUIRED
#define NUL FIELD_NULLABLE
#define LST FIELD_LIST

#define TEXT(n, hi, fl, d) {.name = n, .type = FIELD_STRING, .max = hi, .flags = fl, .doc = d}
#define WORD(n, hi, fl, d) {.name = n, .type = FIELD_STRING, .min = 1, .max = hi, .flags = fl, \
                            .doc = d}
#define TEXTS(n, many, d) {.name = n, .type = FIELD_STRING, .max = 1024, .flags = FIELD_LIST,  \
                           .list_max = many, .doc = d}
#define ENUM(n, w, fl, d) {.name = n, .type = FIELD_ENUM, .words = w, .flags = fl, .doc = d}
#define INT(n, lo, hi, fl, d) {.name = n, .type = FIELD_INT, .min = lo, .max = hi, .flags = fl, \
                               .doc = d}
#define COUNT(n, d) INT(n, 0, BIG, 0, d)
#define INTS(n, hi, many, d) {.name = n, .type = FIELD_INT, .max = hi, .flags = FIELD_LIST,     \
                              .list_max = many, .doc = d}
#define NUMBER(n, fl, d) {.name = n, .type = FIELD_NUMBER, .flags = fl, .doc = d}
#define BOOL(n, fl, d) {.name = n, .type = FIELD_BOOL, .flags = fl, .doc = d}
#define TIME(n, fl, d) {.name = n, .type = FIELD_TIME, .flags = fl, .doc = d}
#define OBJ(n, s, fl, d) {.name = n, .type = FIELD_OBJECT, .set = &(s), .flags = fl, .doc = d}
#define LIST(n, s, many, fl, d) {.name = n, .type = FIELD_OBJECT, .set = &(s),                  \
                                 .flags = FIELD_LIST | (fl), .list_max = many, .doc = d}
#define OPEN(n, fl, d) {.name = n, .type = FIELD_OPEN, .flags = fl, .doc = d}
#define END {0}
#define SET(var, title, about, ...)                                                             \
    static const struct field var##_fields[] = {__VA_ARGS__, END};                              \
    const struct field_set var = {.name = title, .doc = about, .fields = var##_fields}
#define SUBSET(var, title, about, ...)                                                          \
    static const struct field var##_fields[] = {__VA_ARGS__, END};                              \
    static const struct field_set var = {.name = title, .doc = about, .fields = var##_fields}

#define LEASE_STATES "queued|cutting|active|releasing|released|expired|rejected|lost"
#define SLICE_STATES "creating|idle|leased|destroying|quarantined|foreign"
#define ROLES "viewer|tenant|operator"
#define USAGE_BY "tenant|profile|day|lease"

SUBSET(placement, "Placement", "A window of memory slots.",
       INT("start", 0, 15, 0, "first slot"), INT("size", 1, 16, 0, "number of slots"));

/* --- gpus and slices ------------------------------------------------------------------------ */

SUBSET(mig_mode, "MigMode", "What the GPU says of MIG, and what the configuration allows.",
       BOOL("capable", 0, "the GPU can do MIG"),
       ENUM("mode", "enabled|disabled", 0, "now"),
       ENUM("pending", "enabled|disabled", 0, "after the next reset of the GPU"),
       BOOL("resetless", 0, "the mode changes without a reset"),
       ENUM("policy", "keep|on-demand", 0, "may tangram change the mode?"));

SUBSET(profile, "Profile", "Something that the GPU can be cut into.",
       TEXT("name", 31, 0, "as in 2g.20gb"), COUNT("id", "the driver's runtime id"),
       COUNT("compute", "compute slots"), COUNT("slots", "memory slots"),
       COUNT("memory_mib", "memory"), COUNT("multiprocessors", "streaming multiprocessors"),
       INTS("starts", 15, 16, "slots at which it may start"),
       COUNT("max", "how many an empty GPU takes"),
       COUNT("free", "how many more fit beside everything that is there now"));

SUBSET(compute_instance, "ComputeInstance", "A compute instance in a slice.",
       INT("id", 0, BIG, NUL, "the driver's id in the slice; null while it is being made"),
       TEXT("profile", 31, 0, "as in 2g.20gb or 1c.3g.40gb"),
       TEXT("mig_uuid", 95, NUL, "what programs are given; null while it is being made"),
       TEXT("lease", 31, NUL, "who has it; null nobody"));

SET(schema_slice, "Slice", "A GPU instance with its compute instances.",
    TEXT("gpu_uuid", 95, 0, NULL), COUNT("gpu_index", "the driver's order; changes over time"),
    TEXT("profile", 31, 0, NULL), OBJ("placement", placement, 0, NULL),
    COUNT("compute_slots", NULL),
    INT("gpu_instance_id", 0, BIG, NUL, "the driver's; reused by it later"),
    ENUM("state", SLICE_STATES, 0, NULL),
    ENUM("owner", "tangram|foreign", 0, "foreign ones are shown and never touched"),
    TEXT("tenant", 63, NUL, "who uses it, or did last"), TEXT("lease", 31, NUL, NULL),
    COUNT("processes", "at the last look"),
    TEXT("reason", 255, NUL, "why it is quarantined or not yet gone"),
    LIST("compute_instances", compute_instance, 8, 0, NULL));

SET(schema_slice_list, "SliceList", NULL, LIST("slices", schema_slice, 65536, 0, NULL));

SET(schema_slice_name, "SliceName", "Names a slice: by MIG UUID, or by GPU and first slot.",
    WORD("slice", 95, NUL, "MIG UUID of one of its compute instances"),
    WORD("gpu", 95, NUL, "UUID, PCI address or index"),
    INT("start", 0, 15, NUL, "first memory slot"));

SET(schema_gpu, "Gpu", "A GPU and what is on it.",
    COUNT("index", "the driver's order; changes over time"), TEXT("uuid", 95, 0, "its identity"),
    TEXT("name", 95, 0, NULL), TEXT("pci", 31, 0, NULL), COUNT("memory_mib", NULL),
    OBJ("mig", mig_mode, 0, NULL),
    BOOL("managed", 0, "tangram cuts it; the others are only shown"),
    ENUM("health", "ok|unresponsive|lost|failed", 0, NULL),
    TEXT("health_reason", 255, NUL, NULL), TEXT("lease", 31, NUL, "when leased as a whole"),
    COUNT("memory_slots", "0 when not known"), COUNT("compute_slots", "0 when not known"),
    COUNT("processes", "on the GPU itself, at the last look"),
    LIST("profiles", profile, 32, 0, NULL), LIST("slices", schema_slice, 16, 0, NULL),
    TEXT("note", 512, NUL, "what the administrator should know or do"));

SET(schema_gpu_list, "GpuList", NULL, LIST("gpus", schema_gpu, 65536, 0, NULL));

/* --- leases --------------------------------------------------------------------------------- */

SUBSET(timing, "Timing", "Where the time went.",
       NUMBER("wait_ms", 0, "waiting for room"),
       NUMBER("driver_ms", 0, "in the driver's own calls"),
       NUMBER("overhead_ms", 0, "all the rest, between request and grant"));

SUBSET(lease_slice, "LeaseSlice", "One slice, or one whole GPU, of a lease.",
       TEXT("gpu_uuid", 95, 0, NULL), COUNT("gpu_index", NULL), TEXT("profile", 63, 0, NULL),
       OBJ("placement", placement, NUL, "null: the whole GPU"),
       INT("gpu_instance_id", 0, BIG, NUL, NULL), INT("compute_instance_id", 0, BIG, NUL, NULL),
       TEXT("mig_uuid", 95, NUL, NULL));

SUBSET(lease_move, "LeaseMove", "Another slice that a movable lease is to go to, or leaves.",
       TEXT("id", 47, 0, "as in l-7.2, the second move of l-7: what an answer may name"),
       ENUM("state", "making|asked|leaving", 0,
            "asked: the holder is to answer; leaving: the slice that is let go is looked at for "
            "processes"),
       BOOL("stop", 0, "this is its only slice: the work has to stop, and the lease gets another"),
       BOOL("confirmed", 0,
            "leaving: the holder has agreed; the lease has its new slice, and this is the old one, "
            "or its only one with stop"),
       TEXT("request", 31, NUL, "for whom room is made; null: to keep the fleet together"),
       TIME("until", NUL, "no answer until then is a refusal"), TEXT("gpu_uuid", 95, 0, NULL),
       COUNT("gpu_index", NULL), OBJ("placement", placement, 0, NULL),
       TEXT("from_mig_uuid", 95, NUL, "the slice of the lease that it would leave; null: it has"),
       TEXT("mig_uuid", 95, NUL, "null while it is being made"),
       OPEN("env", 0, "variables for the workload there; empty unless asked, and for other "
                      "tenants"));

SET(schema_move_answer, "MoveAnswer", "A holder's answer.",
    ENUM("answer", "confirm|refuse", REQ,
         "confirm: the work is on the new slice now; refuse: it stays where it is"),
    WORD("mig_uuid", 95, NUL, "the new slice that is meant: refused when another is asked for now"),
    WORD("move", 47, NUL, "the id of the move that is meant, in the same way"));

SET(schema_lease, "Lease", "Somebody's right to slices. Members of a single slice are null when "
                           "the lease has several, or none yet.",
    TEXT("id", 31, 0, "as in l-7"), ENUM("state", LEASE_STATES, 0, NULL),
    TEXT("profile", 63, 0, "as it was asked for"), COUNT("count", "slices"),
    TEXT("tenant", 63, 0, NULL),
    TEXT("name", 128, NUL, "null for everybody but its tenant and operators"),
    TEXT("model", 95, NUL, "part of the GPU's name that was asked for"),
    TEXT("gpu_uuid", 95, NUL, NULL), INT("gpu_index", 0, BIG, NUL, NULL),
    OBJ("placement", placement, NUL, NULL), INT("gpu_instance_id", 0, BIG, NUL, NULL),
    INT("compute_instance_id", 0, BIG, NUL, NULL), TEXT("mig_uuid", 95, NUL, NULL),
    LIST("slices", lease_slice, 64, 0, "all of it"),
    TIME("created_at", 0, NULL), TIME("granted_at", NUL, NULL),
    TIME("expires_at", NUL, "null: no limit, or not yet granted"), TIME("ended_at", NUL, NULL),
    INT("ttl_s", 1, TEN_YEARS_S, NUL, "time limit from the grant"),
    INT("priority", -100, 100, 0, NULL), BOOL("movable", 0, NULL),
    ENUM("lifetime", "lease|client|wait", 0, NULL),
    {.name = "labels", .type = FIELD_LABELS, .doc = "empty for everybody but its tenant and "
                                                    "operators"},
    OPEN("env", 0, "variables for the workload; empty until granted, and for other tenants"),
    OBJ("timing", timing, 0, NULL),
    OBJ("move", lease_move, NUL, "where it is asked to go; null: nowhere"),
    TEXT("reason", 255, NUL, "why it waits or ended"));

SET(schema_lease_list, "LeaseList", NULL, LIST("leases", schema_lease, 1000000, 0, NULL));

SET(schema_lease_request, "LeaseRequest", "A request for slices.",
    WORD("profile", 63, REQ, "2g.20gb, 2g, memory=12GiB, memory=12GiB,compute=2, 1c.3g.40gb, gpu"),
    {.name = "count", .type = FIELD_INT, .min = 1, .max = 64, .def = "1",
     .doc = "slices, all or nothing"},
    WORD("model", 95, NUL, "part of the GPU's name, any case"),
    WORD("name", 128, NUL, "for people"),
    INT("ttl_s", 1, TEN_YEARS_S, NUL, "time limit from the grant; null: as configured"),
    {.name = "wait_s", .type = FIELD_INT, .min = -1, .max = DAY_S, .def = "0",
     .doc = "hold the answer at most this long for the grant; -1: must not wait in the queue"},
    {.name = "priority", .type = FIELD_INT, .min = -100, .max = 100, .def = "0",
     .doc = "higher goes first"},
    {.name = "movable", .type = FIELD_BOOL, .def = "false",
     .doc = "its holder may be asked to move to another slice so that another request fits"},
    {.name = "labels", .type = FIELD_LABELS, .flags = NUL, .doc = "for people and programs"},
    {.name = "lifetime", .type = FIELD_ENUM, .words = "lease|client|wait",
     .def = "\"lease\"",
     .doc = "client: it ends with the process at the other end of the unix socket; wait: only "
            "while it waits, once granted it stays"});

SET(schema_lease_patch, "LeasePatch", "A change of a lease.",
    INT("ttl_s", 1, TEN_YEARS_S, REQ | NUL, "new time limit from now; null: none"));

SUBSET(blocking, "Blocking", "Something that stands in the way.",
       COUNT("gpu_index", NULL), TEXT("gpu_uuid", 95, 0, NULL),
       TEXT("profile", 31, NUL, "null: the GPU itself"), OBJ("placement", placement, NUL, NULL),
       ENUM("state", SLICE_STATES, NUL, "of the slice; null: the GPU itself"),
       TEXT("lease", 31, NUL, NULL), TEXT("tenant", 63, NUL, NULL),
       TIME("until", NUL, "when it ends by itself; null unknown"), COUNT("processes", NULL),
       TEXT("why", 255, 0, NULL));

SET(schema_why, "Why", "Why a request waits.",
    TEXT("id", 31, 0, NULL), ENUM("state", LEASE_STATES, 0, NULL),
    INT("position", 1, BIG, NUL, "in the queue; null when it is not in it"),
    TEXT("reason", 255, 0, NULL), TIME("expected_start", NUL, NULL),
    LIST("blocking", blocking, 64, 0, NULL), TEXTS("would_help", 64, "what would let it through"));

SUBSET(queue_entry, "QueueEntry", NULL,
       INT("position", 1, BIG, 0, NULL), TEXT("id", 31, 0, NULL), TEXT("profile", 63, 0, NULL),
       COUNT("count", NULL), TEXT("tenant", 63, 0, NULL), TEXT("name", 128, NUL, NULL),
       INT("priority", -100, 100, 0, NULL), TIME("created_at", 0, NULL),
       TEXT("reason", 255, NUL, NULL), TIME("expected_start", NUL, NULL));

SET(schema_queue, "Queue", "The requests that wait, first come first.",
    LIST("queue", queue_entry, 1000000, 0, NULL));

/* --- usage ---------------------------------------------------------------------------------- */

#define PERCENT(n, d) NUMBER(n, NUL, d)

SUBSET(usage_entry, "UsageEntry",
       "What a tenant used. What is not asked for, or not known, is null.",
       TEXT("tenant", 63, 0, NULL), TEXT("profile", 31, NUL, "by profile and by lease"),
       TEXT("day", 10, NUL, "by day: as in 2026-11-21, UTC"),
       TEXT("lease", 31, NUL, "by lease, as in l-7"), TIME("granted_at", NUL, "by lease"),
       TIME("ended_at", NUL, "by lease; null: it runs"),
       COUNT("leases", "granted in that time"), COUNT("active_leases", "now"),
       COUNT("active_compute_slots", NULL), COUNT("active_memory_mib", NULL),
       NUMBER("compute_slot_hours", 0, "compute slots times hours held"),
       NUMBER("memory_gib_hours", 0, "GiB times hours held"),
       NUMBER("cost", NUL, "at the rates of the configuration; null without"),
       COUNT("samples", "by lease: looks at its slices"),
       NUMBER("sampled_hours", 0, "of slices, that samples stand for"),
       PERCENT("idle_percent", "of the sampled hours: no process, or no activity"),
       PERCENT("sm_mean_percent", "multiprocessors at work; null where the GPU does not tell"),
       PERCENT("sm_p95_percent", "by lease: not passed during 95 % of the time, to 5 percent"),
       PERCENT("sm_peak_percent", "highest of one sample"),
       INT("memory_peak_mib", 0, BIG, NUL, "by lease: of one slice"),
       PERCENT("memory_peak_percent", "highest use of a slice's memory"));

SET(schema_usage, "Usage", "Who used how much.", TEXT("currency", 7, NUL, NULL),
    ENUM("by", USAGE_BY, 0, NULL), TIME("since", NUL, "null: as far back as is kept"),
    TIME("until", NUL, "null: until now"), LIST("usage", usage_entry, 1000000, 0, NULL));

SUBSET(usage_sample, "UsageSample", "One look at a slice of the lease.", TIME("time", 0, NULL),
       INT("processes", 0, BIG, NUL, NULL), INT("memory_used_mib", 0, BIG, NUL, NULL),
       INT("memory_total_mib", 0, BIG, NUL, NULL),
       PERCENT("sm_percent", "mean since the sample before"));

SUBSET(usage_minute, "UsageMinute", NULL, TIME("time", 0, "its beginning"),
       PERCENT("sm_percent", "mean"), PERCENT("memory_percent", "highest"));

SUBSET(advice, "Advice", "What would fit a lease better.",
       ENUM("kind", "smaller|idle", 0,
            "a smaller profile would have done; nothing is done with it"),
       TEXT("lease", 31, 0, NULL), TEXT("tenant", 63, 0, NULL), BOOL("active", 0, "it runs"),
       TEXT("profile", 31, 0, "what each slice is"),
       TEXT("better_profile", 31, NUL, "of the same GPU's table; null when kind is idle"),
       TEXT("message", 512, 0, "one sentence with its grounds"),
       COUNT("samples", "that it stands on"), NUMBER("sampled_hours", 0, "that it stands on"),
       NUMBER("idle_s", 0, "since when it has done nothing"),
       NUMBER("saves_compute_slot_hours", 0, "over the lease's time so far"),
       NUMBER("saves_memory_gib_hours", 0, NULL), NUMBER("saves_cost", NUL, "null without rates"));

SET(schema_advice, "AdviceList", NULL, TEXT("currency", 7, NUL, NULL),
    LIST("advice", advice, 1000000, 0, NULL));

SET(schema_lease_usage, "LeaseUsage", "What one lease used.",
    OBJ("usage", usage_entry, NUL, "null: it never held anything"),
    OBJ("last_sample", usage_sample, NUL, "null: none yet"),
    LIST("minutes", usage_minute, 60, 0, "of the last hour, while it runs; the oldest first"),
    LIST("advice", advice, 2, 0, NULL));

/* --- plan ----------------------------------------------------------------------------------- */

SUBSET(plan_item, "PlanItem", NULL, WORD("profile", 63, REQ, NULL),
       {.name = "count", .type = FIELD_INT, .min = 1, .max = 64, .def = "1"});

SET(schema_plan_request, "PlanRequest", "What if?",
    LIST("requests", plan_item, 64, REQ, "together at most 64 slices"),
    WORD("model", 95, NUL, "part of the GPU's name, any case"));

SUBSET(window, "Window", "Memory slots that are cut anew.", OBJ("placement", placement, 0, NULL),
       TEXT("profile", 31, NUL, NULL));

SUBSET(plan_step, "PlanStep", NULL, TEXT("profile", 31, 0, NULL), COUNT("gpu_index", NULL),
       TEXT("gpu_uuid", 95, 0, NULL), OBJ("placement", placement, NUL, "null: the whole GPU"),
       BOOL("reuses", 0, "an idle slice that is there"),
       BOOL("switches_mig", 0, "the GPU's MIG mode is switched on first"),
       LIST("destroys", window, 16, 0, "idle slices that would go"),
       NUMBER("driver_ms", NUL, "time in the driver; null unknown"));

SUBSET(plan_place_on, "PlanPlace", NULL, COUNT("gpu_index", NULL), TEXT("gpu_uuid", 95, 0, NULL),
       OBJ("placement", placement, 0, NULL));

SUBSET(plan_move, "PlanMove", "A movable lease that would be asked to move.",
       TEXT("lease", 31, 0, NULL), TEXT("tenant", 63, 0, NULL), TEXT("profile", 31, 0, NULL),
       OBJ("from", plan_place_on, 0, NULL), OBJ("to", plan_place_on, 0, NULL),
       LIST("destroys", window, 16, 0, "idle slices that would go"),
       BOOL("stops", 0, "it has to stop before the new slice can be made"),
       NUMBER("driver_ms", NUL, "to make the new slice; null unknown"));

SET(schema_plan, "Plan", "What requests would get now.", BOOL("fits", 0, NULL),
    BOOL("possible", 0, "some GPU here could ever hold each of them"),
    TEXT("reason", 255, NUL, NULL), NUMBER("estimate_ms", NUL, "time in the driver; null unknown"),
    BOOL("proven", NUL,
         "no better places exist for all together; null: one slice, or it does not fit"),
    INT("gpus_opened", 0, BIG, NUL, "empty GPUs taken; null with proven"),
    INT("gpus_opened_least", 0, BIG, NUL, "no other way opens fewer; null with proven"),
    LIST("steps", plan_step, 64, 0, NULL),
    LIST("moves", plan_move, 8, 0,
         "when it does not fit: who would be asked to move, in this order"),
    LIST("room", plan_step, 64, 0,
         "what the first request that does not fit would get after the moves"),
    NUMBER("moves_ms", NUL, "time in the driver for moves and room, without that of the holders; "
                            "null unknown"),
    LIST("blocking", blocking, 64, 0, NULL));

/* --- layout --------------------------------------------------------------------------------- */

SET(schema_layout, "Layout", "A configuration file of mig-parted, v1.",
    ENUM("version", "v1", 0, NULL), OPEN("mig-configs", 0, NULL));

SET(schema_layout_request, "LayoutRequest", "A configuration file of mig-parted, v1.",
    ENUM("version", "v1", REQ, NULL), OPEN("mig-configs", REQ, NULL),
    WORD("config", 63, NUL, "which one; may be left out when there is only one"));

SUBSET(layout_gpu, "LayoutGpu", "What an apply does on one GPU.", COUNT("gpu_index", NULL),
       TEXT("gpu_uuid", 95, 0, NULL), ENUM("mig_mode", "enable|disable", NUL, NULL),
       LIST("keep", window, 16, 0, NULL), LIST("create", window, 16, 0, NULL),
       LIST("destroy", window, 16, 0, NULL));

SET(schema_layout_result, "LayoutResult", NULL, BOOL("changes", 0, NULL),
    TEXT("operation", 31, NUL, "follow it at /v1/operations/{id}"),
    LIST("gpus", layout_gpu, 65536, 0, NULL));

SET(schema_operation, "Operation", "An apply that is carried out.", TEXT("id", 31, 0, NULL),
    ENUM("kind", "apply", 0, NULL), ENUM("state", "running|done|failed", 0, NULL),
    TIME("created_at", 0, NULL), TIME("ended_at", NUL, NULL), COUNT("done", "steps"),
    COUNT("total", "steps"), TEXT("error", 255, NUL, NULL));

/* --- the rest ------------------------------------------------------------------------------- */

SUBSET(event_move, "EventMove", "From where to where a lease is asked to move, or has moved.",
       TEXT("id", 47, NUL, "as in the lease's move"),
       TEXT("from_mig_uuid", 95, NUL, "null: it had stopped before"),
       TEXT("mig_uuid", 95, NUL, "of the new slice; null: it has to stop first"),
       OPEN("env", 0, "variables for the workload there"));

SET(schema_event, "Event", "Something that happened.", INT("id", 1, BIG, 0, "grows"),
    TIME("time", 0, NULL), TEXT("kind", 63, 0, "as in lease.granted"),
    TEXT("gpu_uuid", 95, NUL, NULL), TEXT("lease", 31, NUL, NULL), TEXT("operation", 31, NUL, NULL),
    TEXT("tenant", 63, NUL, NULL),
    OBJ("move", event_move, NUL,
        "lease.move_asked, lease.moved, lease.move_cancelled, lease.stopped"),
    TEXT("message", 320, 0, "one sentence"));

SET(schema_event_list, "EventList", NULL, LIST("events", schema_event, 1000, 0, NULL));

SUBSET(check, "Check", NULL, TEXT("name", 63, 0, NULL), ENUM("state", "ok|warning|error", 0, NULL),
       TEXT("what", 1024, 0, "how it is"), TEXT("do", 1024, NUL, "what to do about it"));

SET(schema_doctor, "Doctor", "What is wrong with this machine.",
    BOOL("ok", 0, "no check is an error"), LIST("checks", check, 1000, 0, NULL));

SET(schema_token, "Token", NULL, TEXT("id", 23, 0, "as in t-1"), TEXT("name", 128, 0, NULL),
    TEXT("tenant", 63, 0, NULL), ENUM("role", ROLES, 0, NULL), TIME("created_at", 0, NULL));

SET(schema_token_list, "TokenList", NULL, LIST("tokens", schema_token, 10000, 0, NULL));

SET(schema_token_request, "TokenRequest", "Who may come in over TCP.",
    WORD("name", 128, REQ, "for people"), WORD("tenant", 63, REQ, "whose leases it makes"),
    {.name = "role", .type = FIELD_ENUM, .words = ROLES, .def = "\"tenant\""});

SET(schema_token_made, "TokenMade", NULL, TEXT("id", 23, 0, NULL),
    TEXT("token", 127, 0, "shown once; only its hash is kept"));

SUBSET(you, "You", "Who you are here.", TEXT("tenant", 63, 0, NULL), ENUM("role", ROLES, 0, NULL),
       INT("uid", 0, BIG, NUL, "null over TCP"));

SET(schema_index, "Index", "What answers.", TEXT("name", 31, 0, NULL),
    TEXT("version", 31, 0, NULL), TEXT("machine", 255, NUL, NULL), BOOL("simulated", 0, NULL),
    TEXT("driver_version", 79, NUL, NULL), TEXT("nvml_version", 79, NUL, NULL),
    TEXT("library", 4095, NUL, NULL), TIME("started_at", NUL, NULL), OBJ("you", you, 0, NULL),
    TEXTS("resources", 64, NULL));

SET(schema_health, "Health", NULL, BOOL("ok", 0, NULL));

SET(schema_problem, "Problem", "An error (RFC 9457). `blocking`, `pointer` and `lease` are there "
                               "when they say something.",
    TEXT("type", 127, 0, "urn:tangram:problem:REASON"), TEXT("title", 127, 0, NULL),
    INT("status", 400, 599, 0, NULL), TEXT("reason", 63, 0, "a stable word"),
    TEXT("detail", 1024, 0, "one sentence"), LIST("blocking", blocking, 64, 0, NULL),
    TEXT("pointer", 255, 0, "the place in the body (JSON pointer)"),
    OBJ("lease", schema_lease, 0, "the lease as it is"));

/* --- queries -------------------------------------------------------------------------------- */

SET(query_leases, "LeasesQuery", NULL, BOOL("all", 0, "ended ones too"),
    WORD("tenant", 63, 0, "only this tenant's"),
    ENUM("state", LEASE_STATES, 0, "only in this state"));

SET(query_wait, "WaitQuery", NULL,
    INT("wait_s", 0, 60, 0, "hold the answer at most this long for the end of what is under way"));

SET(query_usage, "UsageQuery", NULL,
    ENUM("by", USAGE_BY, 0, "what a row is; a tenant's without it"),
    WORD("since", 40, 0,
         "2026-11-21, 2026-11-21T23:59:40Z, or a duration before now; without by=lease whole UTC "
         "days count"),
    WORD("until", 40, 0, "the same"), WORD("tenant", 63, 0, "only this tenant's"),
    WORD("profile", 31, 0, "only of this profile"));

SET(query_advice, "AdviceQuery", NULL, WORD("tenant", 63, 0, "only this tenant's"),
    BOOL("all", 0, "of leases that have ended too"));

SET(query_dry_run, "DryRunQuery", NULL,
    BOOL("dry_run", 0, "say what would be done, and do nothing"));

SET(query_events, "EventsQuery", NULL, INT("after", 0, BIG, 0, "only newer ones than this id"),
    INT("limit", 1, 1000, 0, "at most so many"));
