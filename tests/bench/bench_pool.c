/* How long the pool takes to decide: bench_pool [ROUNDS].  Figures are nanoseconds of one core; the
 * last column is the ratio to a plain hash lookup of a lease, measured in the same run. */
#define WORLD_GPUS 12
#include "../pool_world.h"
#include <stdlib.h>
#include <time.h>

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static int64_t median_of(int64_t *ns, unsigned count)
{
    qsort(ns, count, sizeof(*ns), compare);
    return ns[count / 2];
}

static void report(const char *what, int64_t *ns, unsigned count, int64_t unit_ns)
{
    int64_t median = median_of(ns, count);

    printf("%-44s median %6ld ns  p99 %6ld ns  x%.0f\n", what, (long)median,
           (long)ns[count * 99 / 100], (double)median / (double)(unit_ns ? unit_ns : 1));
}

static void drain_records(struct pool *pool)
{
    struct pool_record rec;

    while (pool_next_dirty(pool, &rec)) {
        free(rec.body);
    }
}

/* A request of an idle slice, its release, and the look for processes that ends it. */
static void cycle(struct world *w, const struct pool_request *r, bool has_records)
{
    struct pool_event e = {.kind = POOL_EV_REQUEST, .request = r, .reply_to = 1,
                           .now_ms = w->now_ms,
                           .actor = {.tenant = "vision", .role = POOL_ROLE_TENANT}};
    struct pool_job_result result = {0};
    uint64_t lease = 0;

    pool_step(w->pool, &e, &w->actions);
    for (unsigned i = 0; i < w->actions.count; i++) {
        lease = w->actions.action[i].kind == POOL_DO_REPLY ? w->actions.action[i].lease : lease;
    }
    w->actions.count = 0;
    e.kind = POOL_EV_RELEASE;
    e.lease = lease;
    pool_step(w->pool, &e, &w->actions);
    for (unsigned i = 0; i < w->actions.count; i++) {
        if (w->actions.action[i].kind == POOL_DO_JOB) {
            result.job = w->actions.action[i].job;
        }
    }
    w->actions.count = 0;
    e = (struct pool_event){.kind = POOL_EV_RESULT, .result = &result, .now_ms = w->now_ms};
    pool_step(w->pool, &e, &w->actions);
    w->actions.count = 0;
    if (has_records) {
        drain_records(w->pool);
    }
}

/* Every slice is leased, but for each so many-th. */
static void setup(struct world *w, unsigned gpus, unsigned idle_each)
{
    *w = (struct world){.now_ms = 1000000};
    for (unsigned i = 0; i < gpus; i++) {
        world_add_gpu(w, "H100-SXM5-80GB", true);
    }
    world_run(w, NULL);
    for (unsigned i = 0; i < 7 * gpus; i++) {
        world_ask_settled(w, "vision", "1g.10gb", (struct pool_request){.must_not_wait = true});
    }
    for (uint64_t id = idle_each; id <= 7 * gpus; id += idle_each) {
        world_give_back(w, "vision", id);
    }
}

static int64_t lookup_ns(const struct world *w, unsigned rounds)
{
    volatile uintptr_t sink = 0;
    int64_t begin = now_ns();

    for (unsigned i = 0; i < rounds; i++) {
        sink += (uintptr_t)pool_find_lease(w->pool, 1 + i % 20);
    }
    (void)sink;
    return (now_ns() - begin) / rounds;
}

struct bench {
    struct world w;
    struct pool_request request;
    int64_t *ns, unit_ns;
    unsigned rounds;
};

static void measure(struct bench *b, const char *what, bool has_keys, bool has_records)
{
    char key[32];

    for (unsigned i = 0; i < b->rounds; i++) {
        snprintf(key, sizeof(key), "key-%u", i);
        b->request.idempotency_key = has_keys ? key : NULL;
        int64_t begin = now_ns();
        cycle(&b->w, &b->request, has_records);
        b->ns[i] = now_ns() - begin;
        if (i % 64 == 0) {
            drain_records(b->w.pool);
        }
    }
    report(what, b->ns, b->rounds, b->unit_ns);
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct pool_request large = {.profile = "7g.80gb", .count = 1};

    b.rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 20000;
    b.ns = xcalloc(b.rounds + 1, sizeof(*b.ns));
    b.request = (struct pool_request){.profile = "1g.10gb", .count = 1};
    mig_want_parse(b.request.profile, &b.request.want, NULL);
    setup(&b.w, 4, 10);
    b.unit_ns = lookup_ns(&b.w, b.rounds);
    measure(&b, "request + release + check, steps alone", false, false);
    measure(&b, "the same with its records as JSON", false, true);
    measure(&b, "the same with a key among 1000", true, false);
    for (unsigned i = 0; i < 50; i++) {
        world_ask(&b.w, "late", "7g.80gb", large);
    }
    measure(&b, "the same with 50 in the queue", false, false);
    world_done(&b.w);
    setup(&b.w, WORLD_GPUS, 1);
    measure(&b, "the same with 84 idle slices to choose from", false, false);
    world_done(&b.w);
    printf("sizes: lease %zu, slice %zu, GPU %zu, action %zu bytes\n", sizeof(struct pool_lease),
           sizeof(struct pool_slice), sizeof(struct pool_gpu), sizeof(struct pool_action));
    free(b.ns);
    return 0;
}
