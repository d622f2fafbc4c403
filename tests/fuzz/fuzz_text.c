/* What people write in one word or line: durations, sizes, numbers, profiles.  Never a crash; what
 * is accepted is in range, and a duration comes back from its own shortest form. */
#include "base/text.h"
#include "fuzz.h"
#include "mig/mig.h"
#include "replay/models.h"
#include <stdlib.h>
#include <string.h>

static void check_want(const char *text)
{
    static struct mig_geometry geometry;
    struct mig_want want = {0};
    struct error err = {0};
    int profile = 0, compute = 0;

    if (!geometry.profile_count && replay_model_geometry("H100-SXM5-80GB", &geometry, &err) < 0) {
        abort();
    }
    if (mig_want_parse(text, &want, &err) < 0) {
        return;
    }
    if (mig_want_resolve(&want, &geometry, &profile, &compute, &err) == 0 &&
        (profile < 0 || profile >= geometry.profile_count)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(freep) char *text = xcalloc(size + 1, 1);
    struct error err = {0};
    int64_t ms = -1, again = -1, number = 0;
    uint64_t bytes = 0;
    char shown[32];
    struct buf escaped = BUF_INIT(8 * size + 16);

    memcpy(text, data, size);
    if (text_parse_duration_ms(text, &ms, &err) == 0) {
        const char *text_again = text_format_duration_ms(ms, shown);
        if (ms < 0 || text_parse_duration_ms(text_again, &again, &err) < 0 || again != ms) {
            abort();
        }
    }
    if (text_parse_size(text, &bytes, &err) == 0 && bytes > UINT64_C(1) << 60) {
        abort();
    }
    if (text_parse_int(text, "number", -5, 1000, &number, &err) == 0 &&
        (number < -5 || number > 1000)) {
        abort();
    }
    check_want(text);
    text_add_escaped(&escaped, text);
    if (escaped.data && (!text_is_utf8(escaped.data, escaped.len) ||
                         text_has_control(escaped.data))) {
        abort();
    }
    buf_done(&escaped);
    return 0;
}
