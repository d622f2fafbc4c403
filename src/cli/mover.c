/* Answers for `tangram run --on-move`: a process beside the command.
 *
 * It follows the events, and when the lease is asked to move it runs the hook as the user who ran
 * tangram: exit status 0 says that the work is on the new slice (or has stopped), any other that it
 * stays.  The hook has until the daemon's deadline, then it is ended, which is a refusal.  The
 * newest event is asked for first, then the lease is looked at, then the stream is followed from
 * there, so nothing is missed, not while the daemon was away either. */
#include "cli/mover.h"
#include "base/clock.h"
#include "cli/lease.h"
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define AGAIN_MS 500
#define LOOK_MS 50

static volatile sig_atomic_t hook_group; /* of the hook that is running; 0 none */

/* The command has ended: so does what was started for it. */
static void on_stop(int number)
{
    if (hook_group > 0) {
        kill(-hook_group, SIGKILL);
    }
    _exit(number ? 0 : 1);
}

static void listen_for_stop(void)
{
    struct sigaction action = {.sa_handler = on_stop};
    sigset_t set;

    sigaction(SIGTERM, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

struct mover {
    struct cli *cli;
    const char *lease; /* id */
    pid_t command;
    char done[64];     /* the move that was answered last */
    char stopped[128]; /* the slice that was given up; "" none: it has one */
};

struct asked {
    const char *what, *id, *from, *to, *until;
    int64_t until_ms; /* 0: as long as it takes */
};

static void set_pid(const char *name, pid_t pid)
{
    char text[24];

    snprintf(text, sizeof(text), "%d", (int)pid);
    setenv(name, text, 1);
}

/* In the child. */
static void exec_hook(const struct mover *m, const struct asked *asked, pid_t parent)
{
    const char *hook = cli_args_get(&m->cli->args, OPT_ON_MOVE);
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(128 + SIGKILL);
    }
    signal(SIGTERM, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setenv("TANGRAM_LEASE", m->lease, 1);
    setenv("TANGRAM_MOVE", asked->what, 1);
    setenv("TANGRAM_MOVE_ID", asked->id, 1);
    setenv("TANGRAM_OLD_MIG_UUID", asked->from, 1);
    setenv("TANGRAM_NEW_MIG_UUID", asked->to, 1);
    setenv("TANGRAM_MOVE_UNTIL", asked->until, 1);
    setenv("CUDA_VISIBLE_DEVICES", asked->to, 1);
    setenv("NVIDIA_VISIBLE_DEVICES", asked->to, 1);
    set_pid("TANGRAM_COMMAND_PID", m->command);
    execl("/bin/sh", "sh", "-c", hook, (char *)NULL);
    _exit(127);
}

/* The hook's exit status; -1: it could not be started, or was ended. */
static int wait_for_hook(pid_t hook, int64_t until_ms)
{
    bool was_ended = false;
    int status = 0;

    for (;;) {
        pid_t ended = waitpid(hook, &status, WNOHANG);
        if (ended == hook) {
            return was_ended || !WIFEXITED(status) ? -1 : WEXITSTATUS(status);
        }
        if (ended < 0 && errno != EINTR) {
            return -1;
        }
        if (!was_ended && until_ms > 0 && clock_real_ms() >= until_ms) {
            kill(-hook, SIGKILL);
            was_ended = true;
        }
        poll(NULL, 0, LOOK_MS);
    }
}

static int run_hook(const struct mover *m, const struct asked *asked)
{
    pid_t parent = getpid();

    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0); /* with all that it starts */
        exec_hook(m, asked, parent);
    }
    if (child < 0) {
        return -1;
    }
    setpgid(child, child);
    hook_group = child;
    int status = wait_for_hook(child, asked->until_ms);
    hook_group = 0;
    return status;
}

/* False: it was not taken. */
static bool send_answer(const struct mover *m, const struct asked *asked, int status)
{
    CLEANUP(freep) char *path = cli_path("/v1/leases/", m->lease, "/move");
    CLEANUP(client_reply_done) struct client_reply reply = {0};
    CLEANUP(json_decrefp) json_t *body =
        json_pack("{s:s, s:s}", "answer", status ? "refuse" : "confirm", "move", asked->id);
    struct error err = {0};

    if (status) {
        cli_say("%s stays where it is: the command of --on-move %s", m->lease,
                status > 0 ? "refused" : "did not end in time, or was killed");
    }
    int rc = client_request(m->cli->client, "POST", path, body, CLIENT_TIMEOUT_MS, &reply, &err);
    if (rc < 0) {
        cli_say("the answer for %s could not be given: %s", m->lease, err.msg);
    } else if (reply.status != 200) {
        cli_fail_reply(&reply); /* the move was called off meanwhile */
    }
    return rc == 0 && reply.status == 200;
}

/* Stop first, then come back: the hook is run for both. */
static void come_back(struct mover *m, const char *to)
{
    struct asked asked = {.what = "moved", .id = m->done, .from = m->stopped, .to = to,
                          .until = ""};

    if (run_hook(m, &asked)) {
        cli_say("%s has %s now, and the command of --on-move did not end well", m->lease, to);
    }
    m->stopped[0] = '\0';
}

static void answer(struct mover *m, const json_t *move)
{
    bool is_stop = js_true(move, "stop");
    struct asked asked = {.what = is_stop ? "stop" : "ask", .id = js_text(move, "id", ""),
                          .from = js_text(move, "from_mig_uuid", ""),
                          .to = is_stop ? "" : js_text(move, "mig_uuid", ""),
                          .until = js_text(move, "until", ""),
                          .until_ms = js_time_ms(move, "until")};

    snprintf(m->done, sizeof(m->done), "%s", asked.id);
    int status = run_hook(m, &asked);
    if (send_answer(m, &asked, status) && is_stop && !status) {
        snprintf(m->stopped, sizeof(m->stopped), "%s", asked.from);
    }
}

/* Answers if something is asked that was not answered yet; false: the daemon cannot be reached. */
static bool look(struct mover *m)
{
    CLEANUP(freep) char *path = cli_path("/v1/leases/", m->lease, "");
    CLEANUP(client_reply_done) struct client_reply reply = {0};
    struct error err = {0};

    if (client_request(m->cli->client, "GET", path, NULL, CLIENT_TIMEOUT_MS, &reply, &err) < 0 ||
        reply.status != 200) {
        return false;
    }
    const json_t *move = json_object_get(reply.body, "move");
    const char *has = js_text(reply.body, "mig_uuid", "");
    if (*m->stopped && *has && strcmp(has, m->stopped) != 0) {
        come_back(m, has);
    }
    if (!strcmp(js_text(move, "state", ""), "asked") &&
        strcmp(js_text(move, "id", ""), m->done) != 0) {
        answer(m, move);
    }
    return true;
}

/* The newest event's number; -1: the daemon cannot be reached. */
static int64_t newest_event(const struct mover *m)
{
    CLEANUP(client_reply_done) struct client_reply reply = {0};
    struct error err = {0};

    if (client_request(m->cli->client, "GET", "/v1/events?limit=1", NULL, CLIENT_TIMEOUT_MS, &reply,
                       &err) < 0 || reply.status != 200) {
        return -1;
    }
    return js_int(json_array_get(js_array(reply.body, "events"), 0), "id", 0);
}

static int on_event(const json_t *event, void *userdata)
{
    const struct mover *m = userdata;

    const char *kind = js_text(event, "kind", "");

    return event && (!strcmp(kind, "lease.move_asked") || !strcmp(kind, "lease.moved")) &&
           !strcmp(js_text(event, "lease", ""), m->lease);
}

static void follow(struct mover *m)
{
    for (;;) {
        CLEANUP(client_reply_done) struct client_reply reply = {0};
        struct error err = {0};
        int exit_code = 0;
        int64_t last = cli_client(m->cli, &exit_code) ? newest_event(m) : -1;
        if (last < 0 || !look(m) ||
            client_stream(m->cli->client, last, on_event, m, &reply, &err) <= 0) {
            poll(NULL, 0, AGAIN_MS);
        }
    }
}

pid_t mover_start(struct cli *cli, const char *lease, pid_t command)
{
    struct mover m = {.cli = cli, .lease = lease, .command = command};
    pid_t parent = getpid();

    if (!cli_args_has(&cli->args, OPT_ON_MOVE)) {
        return 0;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        cli_say("cannot start a process for --on-move: %s", strerror(errno));
        return 0;
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        listen_for_stop();
        if (getppid() == parent) {
            follow(&m);
        }
        _exit(0);
    }
    return pid;
}

void mover_stop(pid_t mover)
{
    if (mover > 0) {
        kill(mover, SIGTERM);
        while (waitpid(mover, NULL, 0) < 0 && errno == EINTR) {
        }
    }
}
