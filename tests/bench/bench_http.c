/* How many small GETs per second does one core of server carry over the unix socket?
 *
 * The server is a child process that answers GET /v1/leases/{id} with a lease of the usual size,
 * built as JSON each time; the client keeps CONNECTIONS connections busy with one request each.
 * Server and client share the machine, so besides the rate of the wall clock it prints requests per
 * second of the server's CPU time: what one core could do.  Then memory: idle, with 1000 idle
 * connections, and with 500 event streams.
 *
 *     bench_http [CONNECTIONS [REQUESTS]] */
#include "base/clock.h"
#include "http/http.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

static struct http_stream *streams[1000];
static unsigned stream_count;

static void get_lease(struct http_request *req, void *userdata)
{
    CLEANUP(json_decrefp)
    json_t *lease = json_pack(
        "{s:s, s:s, s:s, s:s, s:n, s:s, s:i, s:{s:i, s:i}, s:i, s:i, s:s, s:s, s:s, s:n, s:{s:s},"
        " s:{s:i, s:f, s:f}, s:n}",
        "id", http_param(req, "id"), "state", "active", "profile", "2g.20gb", "tenant", "vision",
        "name", "gpu_uuid", "GPU-01234567-89ab-cdef-0123-456789abcdef", "gpu_index", 0, "placement",
        "start", 4, "size", 2, "gpu_instance_id", 3, "compute_instance_id", 0, "mig_uuid",
        "MIG-01234567-89ab-cdef-0123-456789abcdef", "created_at", "2026-11-21T23:59:40.123Z",
        "granted_at", "2026-11-21T23:59:40.250Z", "expires_at", "env", "CUDA_VISIBLE_DEVICES",
        "MIG-01234567-89ab-cdef-0123-456789abcdef", "timing", "wait_ms", 0, "driver_ms", 131.2,
        "overhead_ms", 3.1, "reason");

    (void)userdata;
    http_reply_json(req, 200, lease);
}

static void get_events(struct http_request *req, void *userdata)
{
    (void)userdata;
    streams[stream_count++] = http_stream_open(req, NULL, NULL);
    for (unsigned i = 0; i < 10; i++) {
        http_stream_send(streams[stream_count - 1], "id: 7\nevent: x\ndata: {\"a\":1}\n\n", 30);
    }
}

static const struct http_route routes[] = {
    {HTTP_GET, "/v1", get_lease, 0},           {HTTP_GET, "/v1/gpus", get_lease, 0},
    {HTTP_GET, "/v1/gpus/{id}", get_lease, 0}, {HTTP_GET, "/v1/slices", get_lease, 0},
    {HTTP_GET, "/v1/leases", get_lease, 0},    {HTTP_GET, "/v1/leases/{id}", get_lease, 0},
    {HTTP_GET, "/v1/events", get_events, 0},   {0},
};

static void serve(const char *path, int ready_fd)
{
    struct http_settings settings = {.socket_path = path, .connections_per_uid = 2000};
    struct http_server *server = NULL;
    struct error err = {0};
    sd_event *event = NULL;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sd_event_new(&event);
    if (http_server_new(event, &settings, routes, NULL, &server, &err) < 0) {
        fprintf(stderr, "bench_http: %s\n", err.msg);
        _exit(1);
    }
    close(ready_fd);
    sd_event_loop(event);
    _exit(0);
}

static int dial(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        perror("connect");
        exit(1);
    }
    return fd;
}

/* Private memory of a process in KiB. */
static long private_kib(pid_t pid)
{
    char path[64], line[256];
    long sum = 0, value;

    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "Private_Clean: %ld", &value) == 1 ||
            sscanf(line, "Private_Dirty: %ld", &value) == 1) {
            sum += value;
        }
    }
    if (f) {
        fclose(f);
    }
    return sum;
}

/* CPU time of a process so far, in seconds. */
static double cpu_s(pid_t pid)
{
    clockid_t clock;
    struct timespec ts = {0};

    if (clock_getcpuclockid(pid, &clock) == 0) {
        clock_gettime(clock, &ts);
    }
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static const char request[] = "GET /v1/leases/l-7 HTTP/1.1\r\nHost: tangram\r\n"
                              "User-Agent: bench\r\nAccept: application/json\r\n\r\n";

static void say(int fd, const char *text, size_t len)
{
    if (send(fd, text, len, MSG_NOSIGNAL) != (ssize_t)len) {
        perror("send");
        exit(1);
    }
}

static void load(const char *path, int connections, int requests)
{
    struct epoll_event events[64];
    int poll_fd = epoll_create1(EPOLL_CLOEXEC), sent = 0, answered = 0;
    char data[4096];

    for (int i = 0; i < connections; i++) {
        int fd = dial(path);
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &e);
        say(fd, request, sizeof(request) - 1);
        sent++;
    }
    while (answered < sent) {
        int n = epoll_wait(poll_fd, events, 64, 5000);
        if (n <= 0) {
            fprintf(stderr, "bench_http: no answer\n");
            exit(1);
        }
        for (int i = 0; i < n; i++) {
            /* An answer is smaller than one read. */
            ssize_t len = recv(events[i].data.fd, data, sizeof(data) - 1, 0);
            data[len > 0 ? len : 0] = '\0';
            if (len < 400 || strncmp(data, "HTTP/1.1 200", 12) != 0 || data[len - 1] != '}') {
                fprintf(stderr, "bench_http: unexpected answer: %.200s\n", data);
                exit(1);
            }
            answered++;
            if (sent < requests) {
                say(events[i].data.fd, request, sizeof(request) - 1);
                sent++;
            }
        }
    }
    close(poll_fd);
}

static void measure_rate(const char *path, pid_t pid, int connections, int requests)
{
    double cpu = cpu_s(pid);
    int64_t start_ns = clock_mono_ns();

    load(path, connections, requests);
    cpu = cpu_s(pid) - cpu;
    double wall = (double)(clock_mono_ns() - start_ns) / 1e9;
    printf("%4d connections: %8.0f GET/s (wall), %8.0f GET/s per core of the server\n", connections,
           requests / wall, requests / cpu);
}

static void measure_memory(const char *path, pid_t pid)
{
    static const char subscribe[] = "GET /v1/events HTTP/1.1\r\nHost: tangram\r\n\r\n";
    static int fds[1000];
    char data[4096];
    long before = private_kib(pid);

    printf("private memory: %ld KiB after the load\n", before);
    for (int i = 0; i < 1000; i++) {
        fds[i] = dial(path);
    }
    load(path, 1, 1);
    printf("with 1000 idle connections: %ld KiB\n", private_kib(pid));
    for (int i = 0; i < 500; i++) {
        say(fds[i], subscribe, sizeof(subscribe) - 1);
    }
    for (int i = 0; i < 500; i++) {
        if (recv(fds[i], data, sizeof(data), 0) <= 0) {
            exit(1);
        }
    }
    for (int i = 500; i < 1000; i++) {
        close(fds[i]);
    }
    load(path, 1, 1);
    printf("with 500 event streams: %ld KiB (goal: 40960)\n", private_kib(pid));
}

int main(int argc, char **argv)
{
    int connections = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 32;
    int requests = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 200000, pipe_fds[2];
    char dir[] = "/tmp/tangram-bench-XXXXXX", byte;

    if (!mkdtemp(dir) || pipe2(pipe_fds, O_CLOEXEC) < 0) {
        return 1;
    }
    CLEANUP(freep) char *path = xasprintf("%s/sock", dir);
    pid_t pid = fork();
    if (pid == 0) {
        close(pipe_fds[0]);
        serve(path, pipe_fds[1]);
    }
    close(pipe_fds[1]);
    if (read(pipe_fds[0], &byte, 1) != 0) {
        return 1;
    }
    printf("private memory: %ld KiB at start\n", private_kib(pid));
    measure_rate(path, pid, connections, requests);
    measure_rate(path, pid, 1, requests / 10);
    measure_memory(path, pid);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    unlink(path);
    rmdir(dir);
    return 0;
}
