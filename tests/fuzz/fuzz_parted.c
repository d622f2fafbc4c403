/* mig-parted files, YAML or JSON: never a crash, and what is accepted is within its caps. */
#include "api/partedfile.h"
#include "base/tree.h"
#include "fuzz.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(tree_doc_freep) struct tree_doc *doc = NULL;
    CLEANUP(parted_config_freep) struct parted_config *c = NULL;
    char pointer[FIELD_POINTER_BYTES];
    struct error err = {0};

    if (tree_from_yaml((const char *)data, size, "fuzz", &doc, &err) < 0 ||
        parted_parse(tree_doc_root(doc), NULL, &c, pointer, &err) < 0) {
        return 0;
    }
    for (unsigned i = 0; i < c->entry_count; i++) {
        const struct parted_entry *e = &c->entry[i];
        if (e->want_count > PARTED_WANTS_MAX || e->device_count > PARTED_DEVICES_MAX ||
            e->filter_count > PARTED_FILTERS_MAX || (!e->is_mig_enabled && e->want_count)) {
            abort();
        }
    }
    parted_find(c, 0, 0x233010de);
    return 0;
}
