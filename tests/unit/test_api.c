/* The REST resources over a real pool and a real socket: what is answered, when (not before it is
 * on disk), and to whom. */
#include "../api_world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct api_world *aw;

#define ANSWER CLEANUP(aw_answer_done) struct aw_answer

static int setup(void **state)
{
    (void)state;
    aw = xcalloc(1, sizeof(*aw));
    aw_start(aw, 1, "H100-SXM5-80GB", NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    aw_stop(aw);
    free(aw);
    return 0;
}

static struct aw_answer post_lease(const char *body)
{
    return aw_ask(aw, "POST", "/v1/leases", NULL, body);
}

static void assert_problem(const struct aw_answer *a, int status, const char *reason,
                           const char *detail)
{
    if (a->status != status || strcmp(aw_text(a, "reason"), reason) != 0 ||
        !strstr(aw_text(a, "detail"), detail)) {
        fail_msg("%d %s '%s', not %d %s '%s'", a->status, aw_text(a, "reason"),
                 aw_text(a, "detail"), status, reason, detail);
    }
    assert_non_null(strstr(a->head, "Content-Type: application/problem+json"));
}

static void a_lease_is_granted_read_and_released(void **state)
{
    (void)state;
    ANSWER made = post_lease("{\"profile\":\"2g.20gb\",\"name\":\"train\","
                             "\"labels\":{\"a\":\"b\"}}");
    assert_int_equal(made.status, 201);
    assert_non_null(strstr(made.head, "Location: /v1/leases/l-1"));
    assert_string_equal(aw_text(&made, "state"), "active");
    assert_string_equal(aw_text(&made, "labels.a"), "b");
    assert_string_equal(aw_text(&made, "env.CUDA_VISIBLE_DEVICES"), aw_text(&made, "mig_uuid"));
    assert_string_equal(aw_text(&made, "slices.0.mig_uuid"), aw_text(&made, "mig_uuid"));
    assert_int_equal(json_integer_value(aw_at(made.body, "placement.size")), 2);
    ANSWER got = aw_ask(aw, "GET", "/v1/leases/l-1", NULL, NULL);
    assert_int_equal(got.status, 200);
    assert_true(json_equal(got.body, made.body));
    ANSWER gone = aw_ask(aw, "DELETE", "/v1/leases/l-1", NULL, NULL);
    assert_int_equal(gone.status, 200);
    assert_string_equal(aw_text(&gone, "state"), "released");
    ANSWER twice = aw_ask(aw, "DELETE", "/v1/leases/l-1", NULL, NULL);
    assert_problem(&twice, 409, "already_ended", "l-1 has ended");
    ANSWER list = aw_ask(aw, "GET", "/v1/leases", NULL, NULL);
    assert_int_equal(json_array_size(aw_at(list.body, "leases")), 0);
    ANSWER all = aw_ask(aw, "GET", "/v1/leases?all", NULL, NULL);
    assert_int_equal(json_array_size(aw_at(all.body, "leases")), 1);
}

/* The answer to a change waits for the disk, step by step. */
static void nothing_is_promised_before_it_is_on_disk(void **state)
{
    CLEANUP(buf_done) struct buf got = BUF_INIT(1 << 20);
    (void)state;
    aw->commits_at_once = false;
    int fd = aw_send(aw, "POST", "/v1/leases", NULL, "{\"profile\":\"1g.10gb\",\"wait_s\":60}");
    while (!pool_find_lease(aw->w.pool, 1)) {
        sd_event_run(aw->event, 1000000);
    }
    world_settle(&aw->w); /* the driver has made it, the pool says active */
    assert_int_equal(world_state(&aw->w, 1), POOL_LEASE_ACTIVE);
    aw_turn(aw);
    assert_int_equal(recv(fd, (char[1]){0}, 1, MSG_DONTWAIT | MSG_PEEK), -1);
    unsigned all = aw->pending_count, k = 0;
    while (k < all && aw->pending[k].action.kind != POOL_DO_REPLY) {
        k++;
    }
    assert_true(k + 1 < all); /* the reply to the request, then the grant */
    aw->pending_count = k + 1;
    aw_commit(aw); /* only the request is on disk */
    aw_turn(aw);
    assert_int_equal(recv(fd, (char[1]){0}, 1, MSG_DONTWAIT | MSG_PEEK), -1);
    memmove(&aw->pending[0], &aw->pending[k + 1], (all - k - 1) * sizeof(aw->pending[0]));
    aw->pending_count = all - k - 1;
    aw_commit(aw);
    ANSWER made = aw_receive(aw, fd);
    assert_int_equal(made.status, 201);
}

static void without_waiting_the_answer_comes_early(void **state)
{
    (void)state;
    aw->commits_at_once = false;
    int fd = aw_send(aw, "POST", "/v1/leases", NULL, "{\"profile\":\"1g.10gb\"}");
    while (!pool_find_lease(aw->w.pool, 1)) {
        sd_event_run(aw->event, 1000000);
    }
    aw_commit(aw);
    ANSWER made = aw_receive(aw, fd);
    assert_int_equal(made.status, 202);
    assert_string_equal(aw_text(&made, "state"), "cutting");
    assert_true(json_is_null(aw_at(made.body, "mig_uuid")));
    assert_int_equal(json_object_size(aw_at(made.body, "env")), 0);
    assert_non_null(strstr(made.head, "Location: /v1/leases/l-1"));
    /* and a GET waits for what becomes of it */
    fd = aw_send(aw, "GET", "/v1/leases/l-1?wait_s=10", NULL, NULL);
    aw_turn(aw);
    world_settle(&aw->w);
    aw_commit(aw);
    ANSWER later = aw_receive(aw, fd);
    assert_string_equal(aw_text(&later, "state"), "active");
}

static void a_wait_ends_at_its_deadline(void **state)
{
    (void)state;
    ANSWER all = post_lease("{\"profile\":\"7g.80gb\"}");
    assert_int_equal(all.status, 201);
    aw_be(aw, "speech", POOL_ROLE_TENANT);
    int fd = aw_send(aw, "POST", "/v1/leases", NULL, "{\"profile\":\"1g.10gb\",\"wait_s\":5}");
    while (!pool_find_lease(aw->w.pool, 2)) {
        sd_event_run(aw->event, 1000000);
    }
    assert_int_equal(api_next_deadline_ms(aw->api), aw->w.now_ms + 5000);
    aw->w.now_ms += 5000;
    api_on_tick(aw->api, aw->w.now_ms);
    ANSWER late = aw_receive(aw, fd);
    assert_int_equal(late.status, 202);
    assert_string_equal(aw_text(&late, "state"), "queued");
    ANSWER why = aw_ask(aw, "GET", "/v1/leases/l-2/why", NULL, NULL);
    assert_int_equal(json_integer_value(aw_at(why.body, "position")), 1);
    assert_string_equal(aw_text(&why, "blocking.0.lease"), "l-1");
    assert_string_equal(aw_text(&why, "would_help.0"), "release of l-1 (vision)");
    ANSWER queue = aw_ask(aw, "GET", "/v1/queue", NULL, NULL);
    assert_string_equal(aw_text(&queue, "queue.0.id"), "l-2");
    ANSWER now = post_lease("{\"profile\":\"1g.10gb\",\"wait_s\":-1}");
    assert_problem(&now, 409, "does_not_fit", "");
    assert_string_equal(aw_text(&now, "blocking.0.tenant"), "vision");
}

/* A request that waits is cancelled while its client still listens. */
static void who_waits_hears_of_the_end(void **state)
{
    (void)state;
    ANSWER all = post_lease("{\"profile\":\"7g.80gb\"}");
    int fd = aw_send(aw, "POST", "/v1/leases", NULL, "{\"profile\":\"1g.10gb\",\"wait_s\":60}");
    while (!pool_find_lease(aw->w.pool, 2)) {
        sd_event_run(aw->event, 1000000);
    }
    ANSWER cancelled = aw_ask(aw, "DELETE", "/v1/leases/l-2", NULL, NULL);
    assert_int_equal(cancelled.status, 200);
    ANSWER told = aw_receive(aw, fd);
    assert_problem(&told, 409, "already_ended", "cancelled by vision");
}

static void a_client_that_leaves_costs_nothing(void **state)
{
    (void)state;
    ANSWER all = post_lease("{\"profile\":\"7g.80gb\"}");
    int fd = aw_send(aw, "POST", "/v1/leases", NULL, "{\"profile\":\"1g.10gb\",\"wait_s\":60}");
    while (!pool_find_lease(aw->w.pool, 2)) {
        sd_event_run(aw->event, 1000000);
    }
    close(fd);
    aw_turn(aw);
    assert_int_equal(world_state(&aw->w, 2), POOL_LEASE_QUEUED); /* it keeps its place */
    aw->commits_at_once = false;
    fd = aw_send(aw, "POST", "/v1/leases", NULL, "{\"profile\":\"1g.10gb\",\"wait_s\":60}");
    while (!pool_find_lease(aw->w.pool, 3)) {
        sd_event_run(aw->event, 1000000);
    }
    close(fd); /* before the reply */
    aw_turn(aw);
    aw_commit(aw);
    ANSWER list = aw_ask(aw, "GET", "/v1/leases", NULL, NULL);
    assert_int_equal(json_array_size(aw_at(list.body, "leases")), 3);
}

/* While it is being asked who the operator is, a client of the token that he revokes
 * comes to wait. */
static void revoking_a_token_ends_what_waits_for_it(void **state)
{
    (void)state;
    ANSWER all = post_lease("{\"profile\":\"7g.80gb\"}");
    aw->is_unheard_of = true;
    int operator = aw_send(aw, "DELETE", "/v1/tokens/t-1", NULL, NULL);
    aw_turn(aw);
    int client = aw_send_on(aw_dial_tcp(aw), "POST", "/v1/leases", "Authorization: Bearer good\r\n",
                            "{\"profile\":\"1g.10gb\",\"wait_s\":60}");
    while (!pool_find_lease(aw->w.pool, 2)) {
        sd_event_run(aw->event, 1000000);
    }
    aw->is_unheard_of = false;
    aw_be(aw, "ops", POOL_ROLE_OPERATOR);
    api_on_identified(aw->api);
    ANSWER revoked = aw_receive(aw, operator);
    assert_int_equal(revoked.status, 200);
    char byte;
    assert_int_equal(recv(client, &byte, 1, 0), 0);
    close(client);
}

static void others_see_that_it_is_there_and_no_more(void **state)
{
    (void)state;
    ANSWER made = post_lease("{\"profile\":\"1g.10gb\",\"name\":\"secret\","
                             "\"labels\":{\"a\":\"b\"}}");
    assert_int_equal(made.status, 201);
    aw_be(aw, "speech", POOL_ROLE_TENANT);
    ANSWER seen = aw_ask(aw, "GET", "/v1/leases/l-1", NULL, NULL);
    assert_string_equal(aw_text(&seen, "tenant"), "vision");
    assert_true(json_is_null(aw_at(seen.body, "name")));
    assert_int_equal(json_object_size(aw_at(seen.body, "labels")), 0);
    assert_int_equal(json_object_size(aw_at(seen.body, "env")), 0);
    ANSWER no = aw_ask(aw, "DELETE", "/v1/leases/l-1", NULL, NULL);
    assert_problem(&no, 403, "forbidden", "l-1 belongs to vision");
    aw_be(aw, "watcher", POOL_ROLE_VIEWER);
    ANSWER viewer = post_lease("{\"profile\":\"1g.10gb\"}");
    assert_problem(&viewer, 403, "forbidden", "this needs the role tenant; watcher is a viewer");
    ANSWER tokens = aw_ask(aw, "GET", "/v1/tokens", NULL, NULL);
    assert_problem(&tokens, 403, "forbidden", "the role operator");
    aw_be(aw, "root", POOL_ROLE_OPERATOR);
    ANSWER op = aw_ask(aw, "DELETE", "/v1/leases/l-1", NULL, NULL);
    assert_int_equal(op.status, 200);
    assert_string_equal(aw_text(&op, "name"), "secret");
    aw->is_stranger = true;
    ANSWER who = aw_ask(aw, "GET", "/v1/gpus", NULL, NULL);
    assert_problem(&who, 403, "forbidden", "does not know who you are");
    ANSWER health = aw_ask(aw, "GET", "/healthz", NULL, NULL);
    assert_int_equal(health.status, 200);
}

static void repeats_are_recognised(void **state)
{
    static const char key[] = "Idempotency-Key: k1\r\n";
    (void)state;
    ANSWER a = aw_ask(aw, "POST", "/v1/leases", key, "{\"profile\":\"1g.10gb\",\"count\":1}");
    ANSWER b = aw_ask(aw, "POST", "/v1/leases", key, "{\"count\":1,\"profile\":\"1g.10gb\"}");
    assert_int_equal(b.status, 201);
    assert_string_equal(aw_text(&b, "id"), aw_text(&a, "id"));
    ANSWER c = aw_ask(aw, "POST", "/v1/leases", key, "{\"profile\":\"2g.20gb\"}");
    assert_problem(&c, 409, "idempotency_conflict", "l-1");
    aw_be(aw, "root", POOL_ROLE_OPERATOR);
    ANSWER d = aw_ask(aw, "POST", "/v1/leases", key, "{\"profile\":\"1g.10gb\"}");
    assert_string_equal(aw_text(&d, "id"), "l-2"); /* another tenant's key is another key */
    ANSWER bad = aw_ask(aw, "POST", "/v1/leases", "Idempotency-Key: a b\r\n",
                        "{\"profile\":\"7g\"}");
    assert_problem(&bad, 400, "bad_field", "printable");
    /* tokens: remembered here */
    int first = aw_send(aw, "POST", "/v1/tokens", key, "{\"name\":\"ci\",\"tenant\":\"vision\"}");
    while (!aw->token_cookie) {
        sd_event_run(aw->event, 1000000);
    }
    ANSWER busy = aw_ask(aw, "POST", "/v1/tokens", key, "{\"name\":\"ci\",\"tenant\":\"vision\"}");
    assert_problem(&busy, 409, "idempotency_conflict", "still under way");
    assert_string_equal(aw->wish.tenant, "vision");
    struct api_token token = {.id = "t-9"};
    api_on_token(aw->api, aw->token_cookie, 0, &token, "tgm_x", NULL);
    ANSWER made = aw_receive(aw, first);
    assert_int_equal(made.status, 201);
    ANSWER again = aw_ask(aw, "POST", "/v1/tokens", key, "{\"tenant\":\"vision\",\"name\":\"ci\"}");
    assert_string_equal(aw_text(&again, "token"), "tgm_x");
    ANSWER other = aw_ask(aw, "POST", "/v1/tokens", key, "{\"name\":\"cd\",\"tenant\":\"vision\"}");
    assert_problem(&other, 409, "idempotency_conflict", "another request");
    ANSWER revoked = aw_ask(aw, "DELETE", "/v1/tokens/t-1", NULL, NULL);
    assert_string_equal(aw_text(&revoked, "id"), "t-1");
    ANSWER none = aw_ask(aw, "DELETE", "/v1/tokens/t-2", NULL, NULL);
    assert_problem(&none, 404, "not_found", "there is no token 't-2'");
}

static void changes_wait_for_a_disk_that_works(void **state)
{
    (void)state;
    aw->store_problem = "No space left on device";
    ANSWER full = post_lease("{\"profile\":\"1g.10gb\"}");
    assert_problem(&full, 503, "store_failed", "No space left on device");
    assert_non_null(strstr(full.head, "Retry-After: 1"));
    ANSWER read = aw_ask(aw, "GET", "/v1/gpus", NULL, NULL);
    assert_int_equal(read.status, 200);
    aw->store_problem = NULL;
    aw->commits_at_once = false; /* it fails now, while a change is under way */
    int fd = aw_send(aw, "POST", "/v1/leases", NULL, "{\"profile\":\"1g.10gb\"}");
    while (!pool_find_lease(aw->w.pool, 1)) {
        sd_event_run(aw->event, 1000000);
    }
    aw->w.now_ms = api_next_deadline_ms(aw->api);
    api_on_tick(aw->api, aw->w.now_ms);
    ANSWER late = aw_receive(aw, fd);
    assert_problem(&late, 503, "store_failed", "may still be carried out");
    aw_commit(aw); /* the reply finds nobody */
}

/* --- events --------------------------------------------------------------------------------- */

static unsigned count_of(const char *text, const char *what)
{
    unsigned n = 0;

    for (const char *at = text; (at = strstr(at, what)); at++) {
        n++;
    }
    return n;
}

/* The body of a chunked answer, as far as it has come. */
static char *unchunked(const char *text)
{
    struct buf b = BUF_INIT(1 << 22);
    const char *at = strstr(text, "\r\n\r\n");

    for (at = at ? at + 4 : ""; *at;) {
        size_t left = strlen(at), n = strtoul(at, NULL, 16);
        size_t head = strcspn(at, "\n") + 1;
        if (!n || head >= left) {
            break;
        }
        buf_add(&b, at + head, n < left - head ? n : left - head);
        at += head + n + 2 < left ? head + n + 2 : left;
    }
    return buf_take(&b);
}

static void a_stream_resumes_without_gap_or_repeat(void **state)
{
    CLEANUP(buf_done) struct buf got = BUF_INIT(1 << 22);
    char until[64];
    (void)state;
    for (int i = 0; i < 200; i++) {
        ANSWER made = post_lease("{\"profile\":\"1g.10gb\"}");
        snprintf(until, sizeof(until), "/v1/leases/%s", aw_text(&made, "id"));
        ANSWER gone = aw_ask(aw, "DELETE", until, NULL, NULL);
        assert_int_equal(gone.status, 200);
    }
    int64_t before = aw->last_seq;
    assert_true(before > 400);
    int fd = aw_send(aw, "GET", "/v1/events",
                     "Accept: text/event-stream\r\nLast-Event-ID: 3\r\n", NULL);
    aw_hear(aw, fd, "id: 5\n", &got);
    ANSWER made = post_lease("{\"profile\":\"1g.10gb\"}"); /* while it may still be catching up */
    snprintf(until, sizeof(until), "\nid: %" PRId64 "\n", aw->last_seq);
    char *body = unchunked(got.data);
    for (int64_t end_ms = clock_mono_ms() + AW_PATIENCE_MS; !strstr(body, until);) {
        char data[16384];
        api_on_tick(aw->api, aw->w.now_ms);
        sd_event_run(aw->event, 1000);
        ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);
        buf_add(&got, data, n > 0 ? (size_t)n : 0);
        assert_true(clock_mono_ms() < end_ms);
        free(body);
        body = unchunked(got.data);
    }
    for (int64_t seq = 1; seq <= aw->last_seq; seq++) {
        snprintf(until, sizeof(until), "\nid: %" PRId64 "\n", seq);
        assert_int_equal(count_of(body, until), seq > 3);
    }
    assert_non_null(strstr(body, "event: lease.granted\ndata: {\"id\":"));
    free(body);
    close(fd);
    aw_turn(aw);
}

static void a_new_stream_begins_now(void **state)
{
    CLEANUP(buf_done) struct buf got = BUF_INIT(1 << 20);
    (void)state;
    ANSWER one = post_lease("{\"profile\":\"1g.10gb\"}");
    int64_t before = aw->last_seq;
    int fd = aw_send(aw, "GET", "/v1/events", "Accept: text/event-stream\r\n", NULL);
    aw_hear(aw, fd, ": tangram\n\n", &got);
    ANSWER two = post_lease("{\"profile\":\"1g.10gb\"}");
    aw_hear(aw, fd, "lease.granted", &got);
    assert_non_null(strstr(got.data, "\"lease\":\"l-2\""));
    assert_null(strstr(got.data, "\"lease\":\"l-1\""));
    close(fd);
    ANSWER list = aw_ask(aw, "GET", "/v1/events?limit=2", NULL, NULL);
    assert_int_equal(json_array_size(aw_at(list.body, "events")), 2);
    assert_int_equal(json_integer_value(aw_at(list.body, "events.1.id")), aw->last_seq);
    char path[64];
    snprintf(path, sizeof(path), "/v1/events?after=%" PRId64, before);
    ANSWER after = aw_ask(aw, "GET", path, NULL, NULL);
    assert_int_equal(json_integer_value(aw_at(after.body, "events.0.id")), before + 1);
}

static void shutting_down_answers_everybody(void **state)
{
    CLEANUP(buf_done) struct buf got = BUF_INIT(1 << 20);
    (void)state;
    ANSWER all = post_lease("{\"profile\":\"7g.80gb\"}");
    int stream = aw_send(aw, "GET", "/v1/events", "Accept: text/event-stream\r\n", NULL);
    int fd = aw_send(aw, "POST", "/v1/leases", NULL, "{\"profile\":\"1g.10gb\",\"wait_s\":60}");
    aw_hear(aw, stream, ": tangram\n\n", &got);
    while (!pool_find_lease(aw->w.pool, 2)) {
        sd_event_run(aw->event, 1000000);
    }
    api_shut_down(aw->api);
    ANSWER told = aw_receive(aw, fd);
    assert_problem(&told, 503, "shutting_down", "");
    aw_hear(aw, stream, NULL, &got); /* ends */
    close(stream);
}

/* --- layout --------------------------------------------------------------------------------- */

#define LAYOUT(devices)                                                                            \
    "{\"version\":\"v1\",\"mig-configs\":{\"a\":[{\"devices\":\"all\","                        \
    "\"mig-enabled\":true,\"mig-devices\":" devices "}]}}"

static void a_layout_is_applied_and_exported(void **state)
{
    (void)state;
    ANSWER user = aw_ask(aw, "PUT", "/v1/layout", NULL, LAYOUT("{\"1g.10gb\":7}"));
    assert_problem(&user, 403, "forbidden", "operator");
    aw_be(aw, "root", POOL_ROLE_OPERATOR);
    ANSWER dry = aw_ask(aw, "PUT", "/v1/layout?dry_run=true", NULL,
                        LAYOUT("{\"3g.40gb\":1,\"1g.10gb\":2}"));
    assert_int_equal(dry.status, 200);
    assert_true(json_is_true(aw_at(dry.body, "changes")));
    assert_true(json_is_null(aw_at(dry.body, "operation")));
    assert_int_equal(json_array_size(aw_at(dry.body, "gpus.0.create")), 3);
    ANSWER done = aw_ask(aw, "PUT", "/v1/layout", NULL,
                         LAYOUT("{\"3g.40gb\":1,\"1g.10gb\":2}"));
    assert_int_equal(done.status, 202);
    assert_string_equal(aw_text(&done, "operation"), "op-1");
    ANSWER op = aw_ask(aw, "GET", "/v1/operations/op-1?wait_s=5", NULL, NULL);
    assert_string_equal(aw_text(&op, "state"), "done");
    ANSWER now = aw_ask(aw, "GET", "/v1/layout", NULL, NULL);
    CLEANUP(json_decrefp) json_t *want = json_pack("{s:i, s:i}", "3g.40gb", 1, "1g.10gb", 2);
    assert_true(json_equal(aw_at(now.body, "mig-configs.current.0.mig-devices"), want));
    char *text = json_dumps(now.body, 0);
    /* What was exported changes nothing. */
    ANSWER same = aw_ask(aw, "PUT", "/v1/layout", NULL, text);
    free(text);
    assert_int_equal(same.status, 200);
    assert_true(json_is_false(aw_at(same.body, "changes")));
    assert_int_equal(json_array_size(aw_at(same.body, "gpus.0.keep")), 3);
    ANSWER lease = post_lease("{\"profile\":\"3g.40gb\"}");
    ANSWER busy = aw_ask(aw, "PUT", "/v1/layout", NULL, LAYOUT("{\"7g.80gb\":1}"));
    assert_problem(&busy, 409, "in_use", "");
    assert_string_equal(aw_text(&busy, "blocking.0.lease"), "l-1");
    ANSWER wrong = aw_ask(aw, "PUT", "/v1/layout", NULL, LAYOUT("{\"1g.5gb\":1}"));
    assert_problem(&wrong, 422, "bad_field", "GPU 0");
    assert_string_equal(aw_text(&wrong, "pointer"), "/mig-configs/a/0/mig-devices/1g.5gb");
    ANSWER other = aw_ask(aw, "PUT", "/v1/layout", NULL,
                          "{\"version\":\"v1\",\"mig-configs\":{\"a\":[{\"devices\":[3],"
                          "\"mig-enabled\":false}]}}");
    assert_problem(&other, 422, "bad_field", "there is no GPU 3 here");
    assert_string_equal(aw_text(&other, "pointer"), "/mig-configs/a/0/devices/0");
}

/* A slow apply is followed by a client that waits for its end. */
static void an_operation_is_waited_for(void **state)
{
    (void)state;
    aw_be(aw, "root", POOL_ROLE_OPERATOR);
    aw->commits_at_once = false;
    int fd = aw_send(aw, "PUT", "/v1/layout", NULL, LAYOUT("{\"1g.10gb\":2}"));
    while (!pool_find_operation(aw->w.pool, 1)) {
        sd_event_run(aw->event, 1000000);
    }
    aw_commit(aw);
    ANSWER begun = aw_receive(aw, fd);
    assert_int_equal(begun.status, 202);
    fd = aw_send(aw, "GET", "/v1/operations/op-1?wait_s=60", NULL, NULL);
    aw_turn(aw);
    assert_int_equal(recv(fd, (char[1]){0}, 1, MSG_DONTWAIT | MSG_PEEK), -1);
    world_settle(&aw->w);
    aw_commit(aw);
    ANSWER op = aw_receive(aw, fd);
    assert_string_equal(aw_text(&op, "state"), "done");
    assert_int_equal(json_integer_value(aw_at(op.body, "done")), 2);
}

static void a_plan_says_what_would_be(void **state)
{
    (void)state;
    ANSWER fits = aw_ask(aw, "POST", "/v1/plan", NULL,
                         "{\"requests\":[{\"profile\":\"3g\"},"
                         "{\"profile\":\"2g.20gb\",\"count\":2}]}");
    assert_int_equal(fits.status, 200);
    assert_true(json_is_true(aw_at(fits.body, "fits")));
    assert_int_equal(json_array_size(aw_at(fits.body, "steps")), 3);
    assert_string_equal(aw_text(&fits, "steps.0.gpu_uuid"), "GPU-0");
    assert_true(json_is_false(aw_at(fits.body, "steps.0.switches_mig")));
    ANSWER many = aw_ask(aw, "POST", "/v1/plan", NULL,
                         "{\"requests\":[{\"profile\":\"7g.80gb\",\"count\":2}]}");
    assert_true(json_is_false(aw_at(many.body, "fits")));
    ANSWER each = aw_ask(aw, "POST", "/v1/plan", NULL,
                         "{\"requests\":[{\"profile\":\"7g.80gb\"},{\"profile\":\"7g\"}]}");
    assert_true(json_is_false(aw_at(each.body, "fits")));
    assert_string_equal(aw_text(&each, "blocking.0.why"),
                        "some of it would be taken by the rest of this plan");
    ANSWER none = aw_ask(aw, "POST", "/v1/plan", NULL, "{\"requests\":[]}");
    assert_problem(&none, 400, "bad_field", "1 to 64 slices");
    ANSWER bad = aw_ask(aw, "POST", "/v1/plan", NULL, "{\"requests\":[{\"profile\":\"2q\"}]}");
    assert_problem(&bad, 400, "unknown_profile", "profile:");
    assert_string_equal(aw_text(&bad, "pointer"), "/requests/0/profile");
}

static void slices_change_hands(void **state)
{
    (void)state;
    ANSWER made = post_lease("{\"profile\":\"2g.20gb\"}");
    char body[200];
    snprintf(body, sizeof(body), "{\"slice\":\"%s\"}", aw_text(&made, "mig_uuid"));
    ANSWER user = aw_ask(aw, "POST", "/v1/slices/disown", NULL, body);
    assert_problem(&user, 403, "forbidden", "operator");
    aw_be(aw, "root", POOL_ROLE_OPERATOR);
    ANSWER used = aw_ask(aw, "POST", "/v1/slices/disown", NULL, body);
    assert_problem(&used, 409, "in_use", "");
    ANSWER ours = aw_ask(aw, "POST", "/v1/slices/adopt", NULL, body);
    assert_problem(&ours, 409, "wrong_owner", "leased to vision as l-1");
    ANSWER gone = aw_ask(aw, "DELETE", "/v1/leases/l-1", NULL, NULL);
    ANSWER let_go = aw_ask(aw, "POST", "/v1/slices/disown", NULL, body);
    assert_int_equal(let_go.status, 200);
    assert_string_equal(aw_text(&let_go, "owner"), "foreign");
    ANSWER again = aw_ask(aw, "POST", "/v1/slices/disown", NULL, body);
    assert_problem(&again, 409, "wrong_owner", "is foreign already");
    long long start = json_integer_value(aw_at(let_go.body, "placement.start"));
    snprintf(body, sizeof(body), "{\"gpu\":\"0\",\"start\":%lld}", start);
    ANSWER back = aw_ask(aw, "POST", "/v1/slices/adopt", NULL, body);
    assert_int_equal(back.status, 200);
    assert_string_equal(aw_text(&back, "state"), "idle");
    ANSWER twice = aw_ask(aw, "POST", "/v1/slices/adopt", NULL, body);
    assert_problem(&twice, 409, "wrong_owner", "is tangram's already, and idle");
    ANSWER both = aw_ask(aw, "POST", "/v1/slices/adopt", NULL,
                         "{\"gpu\":\"0\",\"start\":1,\"slice\":\"x\"}");
    assert_problem(&both, 400, "bad_field", "first memory slot");
    ANSWER none = aw_ask(aw, "POST", "/v1/slices/adopt", NULL, "{\"slice\":\"MIG-x\"}");
    assert_problem(&none, 404, "not_found", "no slice");
}

static void gpus_tell_what_fits(void **state)
{
    (void)state;
    ANSWER made = post_lease("{\"profile\":\"3g.40gb\"}");
    ANSWER gpu = aw_ask(aw, "GET", "/v1/gpus/0", NULL, NULL);
    assert_string_equal(aw_text(&gpu, "uuid"), "GPU-0");
    assert_int_equal(json_integer_value(aw_at(gpu.body, "memory_slots")), 8);
    assert_int_equal(json_integer_value(aw_at(gpu.body, "compute_slots")), 7);
    assert_string_equal(aw_text(&gpu, "slices.0.lease"), "l-1");
    size_t i = 0;
    json_t *profile = NULL;
    json_array_foreach(aw_at(gpu.body, "profiles"), i, profile) {
        if (!strcmp(json_string_value(json_object_get(profile, "name")), "3g.40gb")) {
            assert_int_equal(json_integer_value(json_object_get(profile, "free")), 1);
        }
        if (!strcmp(json_string_value(json_object_get(profile, "name")), "7g.80gb")) {
            assert_int_equal(json_integer_value(json_object_get(profile, "free")), 0);
        }
    }
    ANSWER doctor = aw_ask(aw, "GET", "/v1/doctor", NULL, NULL);
    assert_true(json_is_true(aw_at(doctor.body, "ok")));
    assert_string_equal(aw_text(&doctor, "checks.1.name"), "gpu 0");
    ANSWER none = aw_ask(aw, "GET", "/v1/gpus/7", NULL, NULL);
    assert_problem(&none, 404, "not_found", "there is no GPU '7'");
}

static void bad_requests_are_told_what_is_wrong(void **state)
{
    static const struct {
        const char *body;
        int status;
        const char *reason, *detail, *pointer;
    } bad[] = {
        {"{", 400, "bad_json", "line 1", "(none)"},
        {"", 400, "bad_json", "no body", "(none)"},
        {"[]", 400, "bad_field", "must be an object, not a list", ""},
        {"{}", 400, "bad_field", "profile: is missing", ""},
        {"{\"profile\":\"1g\",\"gpu\":1}", 400, "unknown_field",
         "gpu: there is no such field; known are: profile, count", "/gpu"},
        {"{\"profile\":7}", 400, "bad_field", "profile: must be text of 1 to 63 bytes", "/profile"},
        {"{\"profile\":\"2x\"}", 400, "unknown_profile", "profile:", "/profile"},
        {"{\"profile\":\"1g\",\"count\":0}", 400, "bad_field", "from 1 to 64, not 0", "/count"},
        {"{\"profile\":\"1g\",\"count\":65}", 400, "bad_field", "from 1 to 64", "/count"},
        {"{\"profile\":\"1g\",\"count\":1.5}", 400, "bad_field", "from 1 to 64, not 1.5", "/count"},
        {"{\"profile\":\"1g\",\"count\":99999999999999999999}", 400, "bad_json", "", "(none)"},
        {"{\"profile\":\"1g\",\"ttl_s\":-5}", 400, "bad_field", "or null, not -5", "/ttl_s"},
        {"{\"profile\":\"1g\",\"wait_s\":-2}", 400, "bad_field", "from -1 to 86400", "/wait_s"},
        {"{\"profile\":\"1g\",\"name\":\"a\\u0007b\"}", 400, "bad_field", "control", "/name"},
        {"{\"profile\":\"1g\",\"name\":\"a\\u0000b\"}", 400, "bad_json",
         "\\u0000 is not allowed in text", "(none)"},
        {"{\"profile\":\"1g\",\"labels\":{\"\":\"x\"}}", 400, "bad_field", "labels:", "/labels/"},
        {"{\"profile\":\"1g\",\"labels\":{\"a/b\":1}}", 400, "bad_field",
         "labels.a/b: must be text", "/labels/a~1b"},
        {"{\"profile\":\"1g\",\"movable\":\"yes\"}", 400, "bad_field", "true or false", "/movable"},
        {"{\"profile\":\"1g\",\"lifetime\":\"x\"}", 400, "bad_field", "\"client\" or \"wait\"",
         "/lifetime"},
        {"{\"profile\":\"1g\",\"profile\":\"2g\"}", 400, "bad_json", "duplicate", "(none)"},
        {"{\"profile\":\"1g.5gb\"}", 422, "can_never_fit", "", "(none)"},
        {"{\"profile\":\"1g\",\"model\":\"B300\"}", 422, "can_never_fit", "", "(none)"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        ANSWER a = post_lease(bad[i].body);
        assert_problem(&a, bad[i].status, bad[i].reason, bad[i].detail);
        assert_string_equal(aw_text(&a, "pointer"), bad[i].pointer);
    }
    ANSWER query = aw_ask(aw, "GET", "/v1/leases?stat=active", NULL, NULL);
    assert_problem(&query, 400, "unknown_field", "'stat' here; known are: all, tenant, state");
    ANSWER none = aw_ask(aw, "GET", "/v1/gpus?all", NULL, NULL);
    assert_problem(&none, 400, "unknown_field", "'all' here, nor any other");
    ANSWER twice = aw_ask(aw, "GET", "/v1/leases?all=true&all=true", NULL, NULL);
    assert_problem(&twice, 400, "bad_uri", "the query parameter 'all' is given twice");
    ANSWER value = aw_ask(aw, "GET", "/v1/leases?state=on", NULL, NULL);
    assert_problem(&value, 400, "bad_field", "state: must be \"queued\"");
    ANSWER wait = aw_ask(aw, "GET", "/v1/leases/l-1?wait_s=61", NULL, NULL);
    assert_problem(&wait, 400, "bad_field", "from 0 to 60, not 61");
    ANSWER id = aw_ask(aw, "GET", "/v1/leases/l-01x", NULL, NULL);
    assert_problem(&id, 404, "not_found", "l-01x");
    ANSWER last = aw_ask(aw, "GET", "/v1/events",
                         "Accept: text/event-stream\r\nLast-Event-ID: x\r\n", NULL);
    assert_problem(&last, 400, "bad_field", "Last-Event-ID");
    assert_null(pool_find_lease(aw->w.pool, 1)); /* none of it did anything */
}

static void the_document_names_every_route(void **state)
{
    (void)state;
    ANSWER doc = aw_ask(aw, "GET", "/v1/openapi.json", NULL, NULL);
    assert_int_equal(doc.status, 200);
    assert_string_equal(aw_text(&doc, "openapi"), "3.1.0");
    json_t *paths = aw_at(doc.body, "paths");
    unsigned operations = 0, routes = 0;
    const char *path = NULL;
    json_t *item = NULL;
    json_object_foreach(paths, path, item) {
        operations += (unsigned)json_object_size(item);
    }
    while (api_routes()[routes].pattern) {
        assert_non_null(json_object_get(paths, api_routes()[routes].pattern));
        routes++;
    }
    assert_int_equal(operations, routes);
    assert_string_equal(aw_text(&doc, "components.schemas.LeaseRequest.properties.profile.type"),
                        "string");
}

static void the_index_says_who_you_are(void **state)
{
    (void)state;
    ANSWER index = aw_ask(aw, "GET", "/v1", NULL, NULL);
    assert_string_equal(aw_text(&index, "you.tenant"), "vision");
    assert_string_equal(aw_text(&index, "you.role"), "tenant");
    assert_int_equal(json_integer_value(aw_at(index.body, "you.uid")), 1000);
    assert_true(json_is_null(aw_at(index.body, "driver_version")));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_lease_is_granted_read_and_released),
        T(nothing_is_promised_before_it_is_on_disk),
        T(without_waiting_the_answer_comes_early),
        T(a_wait_ends_at_its_deadline),
        T(who_waits_hears_of_the_end),
        T(a_client_that_leaves_costs_nothing),
        T(revoking_a_token_ends_what_waits_for_it),
        T(others_see_that_it_is_there_and_no_more),
        T(repeats_are_recognised),
        T(changes_wait_for_a_disk_that_works),
        T(a_stream_resumes_without_gap_or_repeat),
        T(a_new_stream_begins_now),
        T(shutting_down_answers_everybody),
        T(a_layout_is_applied_and_exported),
        T(an_operation_is_waited_for),
        T(a_plan_says_what_would_be),
        T(slices_change_hands),
        T(gpus_tell_what_fits),
        T(bad_requests_are_told_what_is_wrong),
        T(the_document_names_every_route),
        T(the_index_says_who_you_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
