/* The wall clock is set now and then: by an administrator, or by NTP on a machine that began
 * without knowing the time.  While tangramd runs this changes nothing (loop.c counts from the boot
 * clock).  Times on record are the wall clock's, so at each start it is noted what that showed
 * together with the boot clock, and the next start can tell time that has passed from time
 * that was set. */
#include "base/log.h"
#include "base/tree.h"
#include "daemon/daemon.h"
#include <stdio.h>
#include <stdlib.h>

int setclock_load(struct daemon *d, const char *body, size_t len)
{
    CLEANUP(json_decrefp) json_t *tree = NULL;
    json_int_t real_ms = 0, boot_ms = 0;
    const char *boot_id = NULL;

    if (tree_from_json(body, len, &tree, NULL) < 0 ||
        json_unpack(tree, "{s:s, s:I, s:I}", "boot_id", &boot_id, "real_ms", &real_ms, "boot_ms",
                    &boot_ms) < 0) {
        return -EINVAL;
    }
    d->last_mark = (struct clock_mark){.real_ms = real_ms, .boot_ms = boot_ms};
    snprintf(d->last_mark.boot_id, sizeof(d->last_mark.boot_id), "%s", boot_id);
    return 0;
}

static void put_mark(struct store_batch *batch, const struct clock_mark *mark)
{
    json_t *tree = json_pack("{s:s, s:I, s:I}", "boot_id", mark->boot_id, "real_ms",
                             (json_int_t)mark->real_ms, "boot_ms", (json_int_t)mark->boot_ms);
    CLEANUP(freep) char *body = json_dumps(tree, JSON_COMPACT);

    json_decref(tree);
    if (body) {
        store_batch_put(batch, DAEMON_RECORD_META, "clock", body, strlen(body));
    }
}

/* The mark and what is shifted by it are one transaction: a crash between the two would shift times
 * twice, or not at all. */
void setclock_mend(struct daemon *d)
{
    struct store_batch *batch = store_batch_new();
    struct clock_mark now = {0};
    char text[160];

    clock_mark_now(&now);
    int64_t jump_ms = clock_jump_ms(&d->last_mark, &now, pool_latest_ms(d->pool));
    put_mark(batch, &now);
    if (!jump_ms) {
        daemon_submit(d, batch);
        return;
    }
    snprintf(text, sizeof(text), "the wall clock was set %s by %lld s since tangramd last started; "
             "leases keep the time that they have left", jump_ms > 0 ? "ahead" : "back",
             (long long)llabs(jump_ms) / 1000);
    log_warn("%s", text);
    daemon_tell(d, "clock.set", text);
    pool_shift_times(d->pool, jump_ms);
    meter_shift_times(d->meter, jump_ms);
    daemon_collect(d, batch);
    account_collect(d, batch);
    daemon_submit(d, batch);
}
