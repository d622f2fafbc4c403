/* Event streams: an answer without an end, fed from a backlog of its own; in it lie whole chunks,
 * as they are sent.  A quiet stream costs nothing but its memory. */
#include "base/log.h"
#include "http/internal.h"
#include <string.h>

#define END_CHUNK "0\r\n\r\n"
#define CHUNK_EXTRA_BYTES 24 /* around what is in it */
#define CUT_COMMENT ": cut off, this client reads too slowly; come back with Last-Event-ID\n\n"
#define KEEPALIVE_COMMENT ":\n\n"

struct http_text stream_next(const struct http_stream *stream, bool *ret_is_over)
{
    *ret_is_over = stream->is_closed || stream->is_cut;
    return (struct http_text){stream->backlog.data ? stream->backlog.data + stream->sent : "",
                              stream->backlog.len - stream->sent};
}

void stream_has_sent(struct http_stream *stream, size_t len)
{
    stream->sent += len;
    stream->progress_ms = server_now_ms(stream->server);
    if (stream->sent == stream->backlog.len) {
        size_t cap_bytes = stream->backlog.cap_bytes;
        buf_done(&stream->backlog);
        stream->backlog = BUF_INIT(cap_bytes);
        stream->sent = 0;
    }
}

static void add_chunk(struct http_stream *stream, const void *data, size_t len)
{
    if (stream->is_plain) {
        buf_add(&stream->backlog, data, len);
    } else if (len) {
        buf_addf(&stream->backlog, "%zx\r\n", len);
        buf_add(&stream->backlog, data, len);
        buf_adds(&stream->backlog, "\r\n");
    }
}

/* What was queued goes, and then it is over. */
static void add_end(struct http_stream *stream)
{
    if (!stream->is_plain) {
        buf_adds(&stream->backlog, END_CHUNK);
    }
    if (!stream->conn->req) { /* else its head goes first */
        conn_wait_for(stream->conn, WAIT_SENT);
    }
    conn_is_ready(stream->conn);
}

struct http_stream *http_stream_open(struct http_request *req,
                                     void (*on_gone)(struct http_stream *stream, void *userdata),
                                     void *userdata)
{
    struct http_stream *stream;

    if (!req->conn) {
        request_answer(req, 200, NULL, NULL, 0);
        return NULL;
    }
    stream = xcalloc(1, sizeof(*stream));
    stream->server = req->server;
    stream->is_plain = req->conn->is_old;
    stream->conn = req->conn;
    stream->on_gone = on_gone;
    stream->on_gone_data = userdata;
    stream->progress_ms = server_now_ms(req->server);
    /* Room for the last comment beyond what the reader may lag. */
    stream->backlog = BUF_INIT(req->server->settings.stream_backlog_bytes + sizeof(CUT_COMMENT) +
                               2 * CHUNK_EXTRA_BYTES);
    LIST_INSERT_HEAD(&req->server->streams, stream, all);
    server_arm(req->server, stream->progress_ms + req->server->settings.keepalive_ms);
    req->conn->stream = stream;
    http_set_header(req, "Cache-Control", "no-store");
    request_answer(req, 200, "text/event-stream", NULL, 0);
    return stream;
}

/* Throws away what was sent, once that is most of it. */
static void stream_compact(struct http_stream *stream)
{
    if (stream->sent > stream->backlog.len / 2) {
        stream->backlog.len -= stream->sent;
        memmove(stream->backlog.data, stream->backlog.data + stream->sent, stream->backlog.len + 1);
        stream->sent = 0;
    }
}

static void stream_cut(struct http_stream *stream)
{
    stream->is_cut = true;
    add_chunk(stream, CUT_COMMENT, sizeof(CUT_COMMENT) - 1);
    add_end(stream);
}

int http_stream_send(struct http_stream *stream, const void *data, size_t len)
{
    if (!stream->conn || stream->is_cut || stream->is_closed) {
        return -EPIPE;
    }
    stream_compact(stream);
    if (len > stream->server->settings.stream_backlog_bytes ||
        stream->backlog.len + len + CHUNK_EXTRA_BYTES >
            stream->server->settings.stream_backlog_bytes) {
        stream_cut(stream);
        return -ENOBUFS;
    }
    if (!stream->backlog.len) {
        stream->progress_ms = server_now_ms(stream->server);
    }
    add_chunk(stream, data, len);
    conn_is_ready(stream->conn);
    return 0;
}

size_t http_stream_backlog_bytes(const struct http_stream *stream)
{
    return stream->backlog.len - stream->sent;
}

void http_stream_close(struct http_stream *stream)
{
    stream->on_gone = NULL;
    stream->is_closed = true;
    if (stream->conn && !stream->is_cut) {
        add_end(stream);
    }
}

void stream_lose(struct http_stream *stream)
{
    stream->conn = NULL;
    LIST_REMOVE(stream, all);
    if (stream->on_gone) {
        stream->on_gone(stream, stream->on_gone_data);
    }
    buf_done(&stream->backlog);
    free(stream);
}

void streams_keep_alive(struct http_server *server)
{
    int64_t now_ms = server_now_ms(server), keepalive_ms = server->settings.keepalive_ms;
    int64_t next_ms = now_ms + keepalive_ms;
    struct http_stream *stream;

    LIST_FOREACH(stream, &server->streams, all)
    {
        int64_t due_ms = stream->progress_ms + keepalive_ms;
        if (due_ms <= now_ms && stream->backlog.len && due_ms + 3 * keepalive_ms <= now_ms) {
            /* Has not taken a byte for long: not merely slow. */
            if (!stream->is_cut && !stream->is_closed) {
                stream_cut(stream);
            }
        } else if (due_ms <= now_ms && !stream->backlog.len) {
            http_stream_send(stream, KEEPALIVE_COMMENT, sizeof(KEEPALIVE_COMMENT) - 1);
        } else if (due_ms > now_ms && due_ms < next_ms) {
            next_ms = due_ms;
        }
    }
    if (!LIST_EMPTY(&server->streams)) {
        server_arm(server, next_ms);
    }
}
