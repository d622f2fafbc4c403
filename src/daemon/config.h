#pragma once
#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "meter/meter.h"
#include "pool/pool.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* The daemon's configuration, /etc/tangram/tangram.yaml.
 *
 * One table (config.c) says of every key its type, range, default and meaning; it checks the file,
 * prints the reference for the manual, and packaging/tangram.yaml is held against it by a test. */

#define CONFIG_DEFAULT_PATH "/etc/tangram/tangram.yaml"

enum config_match {
    CONFIG_MATCH_ANY,
    CONFIG_MATCH_UUID,
    CONFIG_MATCH_PCI,   /* any of the usual spellings: "0000:3b:00.0", "3B:00.0" */
    CONFIG_MATCH_INDEX,
    CONFIG_MATCH_MODEL, /* part of the name, any case */
};

struct config_gpu_rule {
    enum config_match match;
    char *value; /* NULL for ANY */
    bool is_managed;
    enum pool_mig_policy mig_policy;
};

struct config_tenant {
    char *name;
    char **users;  /* names or numbers as written, NULL-terminated */
    char **groups;
    enum pool_role role;
    int64_t max_queued, max_compute; /* -1: the general limit */
};

struct daemon_config {
    char *path; /* the file it was read from; NULL: only defaults */

    char *socket_path;
    mode_t socket_mode;
    char *socket_group; /* NULL: left as it is */
    char *listen;       /* "127.0.0.1:7070"; NULL: no TCP */
    char *state_dir;
    char *driver;   /* NVML library */
    char *simulate; /* "H100-SXM5-80GB:2"; NULL: the real driver */
    char *simulate_place; /* "file:line:column: simulate"; NULL: not from a file */
    enum log_level log_level;

    struct config_gpu_rule *gpus; /* the first that matches counts; none: managed, keep */
    size_t gpu_count;
    struct config_tenant *tenants;
    size_t tenant_count;

    struct pool_settings pool; /* limits, queue, plan, history.keep_leases */
    struct meter_rates rates; /* cost */
    unsigned connections_max;
    unsigned keep_events, keep_usage_days;
    int64_t sample_interval_ms; /* 0: nothing is sampled */
    int64_t advice_after_ms, idle_after_ms;
    int64_t call_timeout_ms;  /* a driver call that takes longer makes the GPU unresponsive */
    int64_t scan_interval_ms; /* how often each GPU is enumerated without a reason */
};

/* Defaults: those of the table; paths for root or, as an ordinary user, below XDG_RUNTIME_DIR and
 * XDG_STATE_HOME. */
void config_init(struct daemon_config *config);
void config_done(struct daemon_config *config);

/* Reads the file over the defaults; *config was through config_init() and is untouched on failure.
 * A missing file is no error when is_optional.  -EINVAL with "file:line:column: what is wrong". */
int config_load(struct daemon_config *config, const char *path, bool is_optional,
                struct error *err);
/* The same from memory; `name` is what messages call it. */
int config_parse(struct daemon_config *config, const char *text, size_t len, const char *name,
                 struct error *err);

/* What the rules say of one GPU. */
struct config_gpu {
    bool is_managed;
    enum pool_mig_policy mig_policy;
};
struct config_gpu config_gpu_rule_for(const struct daemon_config *config,
                                      const struct mig_gpu_info *info);

/* Every key with type, range, default and meaning: scdoc for man/tangram.yaml.5, or a commented
 * YAML file. */
void config_print_reference(FILE *out);
