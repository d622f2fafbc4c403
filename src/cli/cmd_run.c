/* tangram run: a lease for as long as a command lives.
 *
 * The lease has the lifetime "client": the daemon watches this process, so the slice comes back
 * even when we are killed.  The command is our child and dies with us (PR_SET_PDEATHSIG), or it
 * would go on using a slice that is no longer its own.  It stays in our process group: the
 * terminal's signals (Ctrl-C, Ctrl-Z, hang-up) reach it without us, and the shell's job control
 * sees one job.  Only signals that somebody sent to us alone are handed on.  Signals that were
 * ignored when we were started (nohup) stay so. */
#include "base/clock.h"
#include "cli/lease.h"
#include "cli/mover.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define RELEASE_FOR_MS 10000

static void set_variable(const char *name, const char *value, void *userdata)
{
    (void)userdata;
    setenv(name, value, 1);
}

/* In the child; tells errno through fd when the command cannot be run. */
static void exec_command(const struct cli *cli, const json_t *lease, pid_t parent, int fd)
{
    sigset_t none;
    int why = 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(128 + SIGKILL); /* it died before the line above */
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    lease_each_variable(lease, set_variable, NULL);
    execvp(cli->args.args[0], (char *const *)cli->args.args);
    why = errno;
    if (write(fd, &why, sizeof(why)) < 0) {
        _exit(126);
    }
    _exit(why == ENOENT ? 127 : 126);
}

/* Signals to hand on, those of job control, and the child's end.  The caller has some of them
 * blocked already. */
static void block_child_signals(sigset_t *set)
{
    static const int numbers[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGUSR1,
                                  SIGUSR2, SIGTSTP, SIGCONT, SIGCHLD};

    sigemptyset(set);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        lease_add_signal(set, numbers[i]);
    }
    sigaddset(set, SIGCHLD);
    sigprocmask(SIG_BLOCK, set, NULL);
}

/* Stops this process as the signal would have if it were not blocked. */
static void stop_here(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    raise(SIGTSTP);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

/* Waits for the command's end; its exit status as a shell would give it. */
static int wait_for_child(pid_t child, const sigset_t *set)
{
    for (;;) {
        siginfo_t info = {0};
        int status = 0;
        if (waitpid(child, &status, WNOHANG) == child) {
            return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        }
        if (sigwaitinfo(set, &info) < 0 || info.si_signo == SIGCHLD) {
            continue;
        }
        /* From the terminal: the child is in the same process group and has it already. */
        if (info.si_code != SI_KERNEL && info.si_pid != child) {
            kill(child, info.si_signo);
        }
        if (info.si_signo == SIGTSTP) {
            stop_here();
        }
    }
}

static int run_child(struct cli *cli, const json_t *lease)
{
    CLEANUP(closep) int read_end = -1;
    pid_t parent = getpid();
    int ends[2] = {-1, -1}, why = 0;
    sigset_t set;

    block_child_signals(&set);
    if (pipe2(ends, O_CLOEXEC) < 0) {
        cli_say("cannot make a pipe: %s", strerror(errno));
        return CLI_FAILED;
    }
    read_end = ends[0];
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) {
        cli_say("cannot start a process: %s", strerror(errno));
        close(ends[1]);
        return CLI_FAILED;
    }
    if (child == 0) {
        exec_command(cli, lease, parent, ends[1]);
    }
    close(ends[1]);
    if (read(read_end, &why, sizeof(why)) == (ssize_t)sizeof(why)) {
        cli_say("cannot run '%s': %s", cli->args.args[0], strerror(why));
    }
    pid_t mover = why ? 0 : mover_start(cli, js_text(lease, "id", ""), child);
    int status = wait_for_child(child, &set);
    mover_stop(mover);
    return status;
}

/* Gives the lease back.  A daemon that is away for a moment is waited for; it also sees by itself
 * that we are gone, so nothing is lost when it stays away. */
static void release(struct cli *cli, const char *id, int signals)
{
    CLEANUP(freep) char *path = cli_path("/v1/leases/", id, "");
    int64_t until_ms = clock_mono_ms() + RELEASE_FOR_MS;
    struct error err = {0};
    int exit_code = 0;
    struct client *c = cli_client(cli, &exit_code);

    while (c) {
        CLEANUP(client_reply_done) struct client_reply reply = {0};
        struct pollfd fd = {.fd = signals, .events = POLLIN};
        int rc = client_request(c, "DELETE", path, NULL, 5000, &reply, &err);
        if (rc == 0 && reply.status != 503) {
            /* 404 and 409: it has ended already, which is what we want. */
            if (reply.status > 299 && reply.status != 404 && reply.status != 409) {
                cli_fail_reply(&reply);
            }
            return;
        }
        if (rc == -ECANCELED || clock_mono_ms() >= until_ms || poll(&fd, 1, 250) > 0) {
            break;
        }
    }
    cli_say("%s could not be given back now (%s); the daemon does it when it notices that this "
            "program has ended",
            id, err.code ? err.msg : "the daemon is not ready");
}

/* Signals that came while the command ran were for the command. */
static void drop_signals(int fd)
{
    struct signalfd_siginfo info;

    while (read(fd, &info, sizeof(info)) > 0) {
    }
}

static bool is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? !S_ISDIR(st.st_mode) : errno != ENOENT && errno != ENOTDIR;
}

/* Is there such a program, as far as can be told?  A slice that is cut for nothing costs others
 * time.  Whether it can be executed is left to exec. */
static bool is_command(const char *name)
{
    const char *path = getenv("PATH");

    if (strchr(name, '/')) {
        return is_file(name) || access(name, F_OK) == 0;
    }
    while (path && *path) {
        size_t n = strcspn(path, ":");
        CLEANUP(freep) char *full = xasprintf("%.*s/%s", n ? (int)n : 1, n ? path : ".", name);
        if (*name && is_file(full)) {
            return true;
        }
        path += n + (path[n] == ':');
    }
    return !path; /* without PATH exec has one of its own */
}

int cmd_run(struct cli *cli)
{
    CLEANUP(json_decrefp) json_t *request = NULL;
    CLEANUP(json_decrefp) json_t *lease = NULL;
    CLEANUP(closep) int signals = -1;
    int rc = lease_request_from_options(cli, &request);

    if (rc) {
        return rc;
    }
    if (!is_command(cli->args.args[0])) {
        cli_say("there is no program '%s' here; nothing was asked for", cli->args.args[0]);
        return 127;
    }
    json_object_set_new(request, "lifetime", json_string("client"));
    if (cli_args_has(&cli->args, OPT_ON_MOVE)) {
        json_object_set_new(request, "movable", json_true());
    }
    rc = lease_obtain(cli, request, &signals, &lease);
    if (rc) {
        return rc;
    }
    /* No connection is held open while the command runs. */
    client_free(TAKE_PTR(cli->client));
    rc = run_child(cli, lease);
    drop_signals(signals);
    if (cli_client(cli, &(int){0})) {
        client_set_cancel_fd(cli->client, signals);
        release(cli, js_text(lease, "id", ""), signals);
    }
    return rc;
}
