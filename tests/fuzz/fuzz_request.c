/* Request bodies against every table: never a crash, and what was accepted is accepted again after
 * a round trip. */
#include "api/schemas.h"
#include "base/tree.h"
#include "fuzz.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct field_set *const sets[] = {
        &schema_lease_request, &schema_lease_patch,  &schema_plan_request,
        &schema_slice_name,    &schema_token_request, &schema_layout_request};
    CLEANUP(json_decrefp) json_t *body = NULL, *again = NULL;
    char pointer[FIELD_POINTER_BYTES];
    struct error err = {0};

    if (tree_from_json((const char *)data, size, &body, &err) < 0) {
        return 0;
    }
    CLEANUP(freep) char *text = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text || tree_from_json(text, strlen(text), &again, &err) < 0) {
        return 0; /* longer when escaped */
    }
    for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
        int rc = fields_check(sets[i], body, pointer, &err);
        if (rc != fields_check(sets[i], again, pointer, &err)) {
            abort();
        }
    }
    return 0;
}
