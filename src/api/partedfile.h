#pragma once
#include "api/fields.h"
#include "base/cleanup.h"
#include "base/error.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Configuration files in mig-parted's format, version v1.  Pure: what the file says, not whether
 * the GPUs of this machine can do it.
 *
 *     version: v1
 *     mig-configs:
 *       mixed:                             # the first, or the one named
 *         - devices: all                   # or [0, 1]: the driver's indices
 *           device-filter: "0x233010DE"    # or a list; PCI device and vendor id
 *           mig-enabled: true
 *           mig-devices: {1g.10gb: 2, 2g.20gb: 1, 1c.3g.40gb: 1}
 *
 * A count is of MIG devices: `1c.3g.40gb: 3` are three compute instances, in as few slices as hold
 * them.  When several entries match a GPU the last one counts, as mig-parted applies
 * them in turn. */

#define PARTED_DEVICES_MAX 64
#define PARTED_FILTERS_MAX 16
#define PARTED_WANTS_MAX 32
#define PARTED_ENTRIES_MAX 64
#define PARTED_COUNT_MAX 64

struct parted_entry {
    bool is_all;
    unsigned device_count;
    uint32_t device[PARTED_DEVICES_MAX];
    unsigned filter_count; /* 0: any model */
    uint32_t filter[PARTED_FILTERS_MAX];
    bool is_mig_enabled;
    unsigned want_count;
    struct {
        char profile[32];
        unsigned count;
    } want[PARTED_WANTS_MAX];
};

/* One configuration out of a file, checked. */
struct parted_config {
    char name[64];
    unsigned entry_count;
    struct parted_entry entry[PARTED_ENTRIES_MAX];
};

void parted_config_free(struct parted_config *config);
DEFINE_FREEP(struct parted_config, parted_config_free)

/* Checks the whole file and takes the configuration `name` out of it; NULL: the only one there is.
 * -EINVAL: the file is wrong, at ret_pointer (a JSON pointer); -ENOENT: there is no such
 * configuration, or there are several and none was named (the message lists them). */
int parted_parse(const json_t *file, const char *name, struct parted_config **ret,
                 char ret_pointer[static FIELD_POINTER_BYTES], struct error *err);

/* The last entry that speaks of this GPU; NULL when none does. */
const struct parted_entry *parted_find(const struct parted_config *config, uint32_t index,
                                       uint32_t pci_device_id);
