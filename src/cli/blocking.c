#include "cli/blocking.h"
#include <stdio.h>

static void add_place(const json_t *b, struct buf *out)
{
    if (json_is_object(json_object_get(b, "placement"))) {
        out_add_placement(json_object_get(b, "placement"), out);
    } else {
        buf_adds(out, "whole");
    }
}

void blocking_print(const struct out *out, const json_t *blocking)
{
    static const struct out_column columns[] = {
        {"GPU", "gpu_index", NULL, COLUMN_RIGHT}, {"PLACE", NULL, add_place, 0},
        {"PROFILE", "profile", NULL, 0},          {"STATE", "state", NULL, COLUMN_STATE},
        {"LEASE", "lease", NULL, 0},              {"TENANT", "tenant", NULL, 0},
        {"UNTIL", "until", NULL, 0},              {"PROCESSES", "processes", NULL, COLUMN_RIGHT},
        {"WHY", "why", NULL, COLUMN_LONG}};

    if (json_array_size(blocking)) {
        printf("\nIn the way:\n");
        out_print_list(out, blocking, columns, ARRAY_SIZE(columns));
    }
}
