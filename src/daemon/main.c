/* tangramd: the daemon of one machine. */
#include "base/log.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char usage[] =
    "usage: tangramd [OPTIONS]\n"
    "\n"
    "Shares the MIG-capable NVIDIA GPUs of this machine: cuts slices on demand, re-cuts\n"
    "what is unused, and keeps account of who holds what.\n"
    "\n"
    "  --config FILE        configuration (default " CONFIG_DEFAULT_PATH ", if it is there)\n"
    "  --check-config       check the configuration and exit: 0 good, 1 not\n"
    "  --socket PATH        unix socket of the API\n"
    "  --listen HOST:PORT   also listen on TCP, loopback only; needs a token\n"
    "  --state DIR          where the journal is kept\n"
    "  --driver PATH        the NVML library (default libnvidia-ml.so.1)\n"
    "  --simulate MODEL[:N][,MODEL[:N]...]\n"
    "                       a simulated machine below the state directory instead\n"
    "  --help, --version\n"
    "\n"
    "The options win over the file.  See tangramd(8) and tangram.yaml(5).\n";

struct options {
    const char *config, *socket, *listen, *state, *driver, *simulate;
    bool is_check;
};

enum { OPT_CONFIG = 256, OPT_CHECK, OPT_SOCKET, OPT_LISTEN, OPT_STATE, OPT_DRIVER, OPT_SIMULATE };

static const struct option long_options[] = {
    {"config", required_argument, NULL, OPT_CONFIG},
    {"check-config", no_argument, NULL, OPT_CHECK},
    {"socket", required_argument, NULL, OPT_SOCKET},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"state", required_argument, NULL, OPT_STATE},
    {"driver", required_argument, NULL, OPT_DRIVER},
    {"simulate", required_argument, NULL, OPT_SIMULATE},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {0},
};

/* 0: go on; else exit with *ret_status. */
static int parse_options(int argc, char **argv, struct options *o, int *ret_status)
{
    const char **const values[] = {[0] = &o->config,
                                   [OPT_SOCKET - OPT_CONFIG] = &o->socket,
                                   [OPT_LISTEN - OPT_CONFIG] = &o->listen,
                                   [OPT_STATE - OPT_CONFIG] = &o->state,
                                   [OPT_DRIVER - OPT_CONFIG] = &o->driver,
                                   [OPT_SIMULATE - OPT_CONFIG] = &o->simulate};

    for (int c = 0; (c = getopt_long(argc, argv, "hV", long_options, NULL)) != -1;) {
        if (c == 'h') {
            fputs(usage, stdout);
            *ret_status = 0;
            return 1;
        }
        if (c == 'V') {
            puts("tangramd " TANGRAM_VERSION);
            *ret_status = 0;
            return 1;
        }
        if (c == OPT_CHECK) {
            o->is_check = true;
        } else if (c >= OPT_CONFIG && c <= OPT_SIMULATE) {
            *values[c - OPT_CONFIG] = optarg;
        } else {
            *ret_status = EXIT_USAGE;
            return 1;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "tangramd: unexpected argument '%s'; see tangramd --help\n", argv[optind]);
        *ret_status = EXIT_USAGE;
        return 1;
    }
    return 0;
}

static void override(char **value, const char *option)
{
    if (option) {
        free(*value);
        *value = xstrdup(option);
    }
}

static int load_config(struct daemon_config *c, const struct options *o, struct error *err)
{
    const char *path = o->config ? o->config : CONFIG_DEFAULT_PATH;
    int rc = config_load(c, path, !o->config, err);

    if (rc < 0) {
        return rc;
    }
    override(&c->socket_path, o->socket);
    override(&c->listen, o->listen);
    override(&c->state_dir, o->state);
    override(&c->driver, o->driver);
    override(&c->simulate, o->simulate);
    if (o->driver && !o->simulate) {
        free(TAKE_PTR(c->simulate));
    }
    if (o->simulate) {
        free(TAKE_PTR(c->simulate_place));
    }
    return o->is_check && c->simulate ? simulate_check(c, err) : 0;
}

static int fail(const struct error *err)
{
    CLEANUP(buf_done) struct buf line = BUF_INIT(4096);

    text_add_escaped(&line, err->msg);
    fprintf(stderr, "tangramd: %s\n", line.data ? line.data : "failed");
    return EXIT_FAILED;
}

static int run(struct daemon *d)
{
    struct error err = {0};
    int status = 0, rc = daemon_open(d, &err);

    if (rc < 0) {
        status = fail(&err);
    } else {
        rc = sd_event_loop(d->event);
        if (rc < 0) {
            log_error("the event loop ended: %s", strerror(-rc));
            status = EXIT_FAILED;
        }
    }
    daemon_close(d);
    return status;
}

int main(int argc, char **argv)
{
    static struct daemon d;
    struct options o = {0};
    struct error err = {0};
    int status = 0;

    if (parse_options(argc, argv, &o, &status)) {
        return status;
    }
    config_init(&d.config);
    if (load_config(&d.config, &o, &err) < 0) {
        config_done(&d.config);
        return fail(&err);
    }
    if (o.is_check) {
        printf("%s: good\n", d.config.path ? d.config.path : "no configuration file, defaults");
        config_done(&d.config);
        return 0;
    }
    log_set_level(d.config.log_level);
    /* One arena: the workers allocate little, and memory stays small (docs/performance.md). */
    mallopt(M_ARENA_MAX, 1);
    signal(SIGPIPE, SIG_IGN);
    return run(&d);
}
