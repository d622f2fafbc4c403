/* Sockets of clients who may have sent descriptors along (SCM_RIGHTS).
 *
 * Nobody here wants any.  But reading what one came with closes it, and so does closing a socket on
 * which it waits to be read; and the last close of a socket takes as long as its owner has set
 * (SO_LINGER): all that time nobody would be served.  From Linux 6.16 on they are refused when they
 * are sent (SO_PASSRIGHTS).  Before that
 *
 * - bytes are looked at before they are read: what brings descriptors is left where it is;
 * - a socket with anything left on it is not closed by us, but by a thread that has descriptors of
 *   its own (a copy) and ends.  Who ends does not linger (sk_lingertime is not for PF_EXITING), so
 *   nothing has to be waited for, and nothing is left that somebody could heap up.
 *
 * For a moment that thread has a copy of every descriptor.  So a closed socket may live on in an
 * epoll set for as long: it is taken out before (conn.c). */
#include "base/log.h"
#include "base/thread.h"
#include "http/internal.h"
#include <sched.h>
#include <semaphore.h>
#include <string.h>
#include <sys/socket.h>

#define STACK_BYTES ((size_t)64 * 1024)
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

bool http_socket_refuse_descriptors(int fd)
{
    int none = 0;

    return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &none, sizeof(none)) == 0;
}

void http_socket_begin(int fd)
{
    int one = 1;

    /* What is sent out of band would be passed over when looking, and dropped when reading. */
    setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
}

ssize_t http_socket_read(int fd, void *data, size_t size, bool may_bring)
{
    struct iovec room = {data, size};
    struct msghdr msg = {.msg_iov = &room, .msg_iovlen = 1}; /* none for what comes along */

    if (!may_bring) {
        return recv(fd, data, size, MSG_DONTWAIT);
    }
    ssize_t n = recvmsg(fd, &msg, MSG_PEEK | MSG_DONTWAIT);
    if (n > 0 && msg.msg_flags & MSG_CTRUNC) {
        errno = EPERM;
        return -1;
    }
    return n > 0 ? recv(fd, data, (size_t)n, MSG_DONTWAIT) : n;
}

struct leaver {
    sem_t has_copy, may_end;
    bool is_alone; /* the copy is its own */
};

static void *leave(void *arg)
{
    struct leaver *leaver = arg;

    leaver->is_alone = unshare(CLONE_FILES) == 0;
    sem_post(&leaver->has_copy);
    while (sem_wait(&leaver->may_end) < 0) {
    }
    return NULL;
}

/* Its end comes when the thread ends, which may be a little later. */
static void close_elsewhere(int fd)
{
    struct leaver leaver = {.is_alone = false};
    pthread_t thread;

    sem_init(&leaver.has_copy, 0, 0);
    sem_init(&leaver.may_end, 0, 0);
    int r = thread_start(leave, &leaver, "leaver", STACK_BYTES, &thread);
    if (r == 0) {
        while (sem_wait(&leaver.has_copy) < 0) {
        }
    }
    if (r < 0 || !leaver.is_alone) {
        log_warn("http: a connection is closed at the risk that it takes long: no thread for it");
    }
    close(fd);
    if (r == 0) {
        sem_post(&leaver.may_end);
        pthread_join(thread, NULL);
    }
    sem_destroy(&leaver.has_copy);
    sem_destroy(&leaver.may_end);
}

void http_socket_close(int fd, bool may_bring)
{
    char byte;

    if (may_bring) {
        shutdown(fd, SHUT_RDWR); /* nothing more comes */
    }
    if (may_bring && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) {
        close_elsewhere(fd);
    } else {
        close(fd);
    }
}

void http_socket_stop_listening(int fd, bool may_bring)
{
    if (may_bring) { /* who has not been accepted yet may have sent something */
        close_elsewhere(fd);
    } else {
        close(fd);
    }
}
