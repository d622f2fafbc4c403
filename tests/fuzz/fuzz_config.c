/* Configuration files: never a crash, and a refusal names the file. */
#include "daemon/config.h"
#include "fuzz.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(config_done) struct daemon_config c = {0};
    struct mig_gpu_info info = {.uuid = "GPU-1", .name = "NVIDIA A30", .pci = "00000000:3B:00.0"};
    struct error err = {0};

    if (config_parse(&c, (const char *)data, size, "fuzz.yaml", &err) < 0) {
        if (strncmp(err.msg, "fuzz.yaml", 9) != 0) {
            abort();
        }
        return 0;
    }
    config_gpu_rule_for(&c, &info);
    return 0;
}
