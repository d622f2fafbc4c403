/* Event streams: an answer without an end, fed from a backlog of its own.  While the backlog is
 * empty libmicrohttpd does not look at the connection (it is suspended), so a quiet stream costs
 * nothing but its memory; that the client left is then seen by our own watch on the socket. */
#include "base/log.h"
#include "http/internal.h"
#include <string.h>

/* libmicrohttpd's buffer for one piece of the body. */
#define STREAM_BLOCK_BYTES 2048
#define CUT_COMMENT ": cut off, this client reads too slowly; come back with Last-Event-ID\n\n"
#define KEEPALIVE_COMMENT ":\n\n"

static ssize_t stream_read(void *cls, uint64_t pos, char *data, size_t max)
{
    struct http_stream *stream = cls;
    size_t left = stream->backlog.len - stream->sent;

    (void)pos;
    if (!stream->conn) {
        /* Its socket is shut down.  Writing the end fails there and closes the connection;
         * MHD_CONTENT_READER_END_WITH_ERROR leaves a suspended one lying about (0.9.75). */
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    if (left) {
        size_t size = left < max ? left : max;
        memcpy(data, stream->backlog.data + stream->sent, size);
        stream->sent += size;
        stream->progress_ms = server_now_ms(stream->server);
        if (stream->sent == stream->backlog.len) {
            buf_done(&stream->backlog);
            stream->backlog = BUF_INIT(stream->backlog.cap_bytes);
            stream->sent = 0;
        }
        return (ssize_t)size;
    }
    if (stream->is_closed || stream->is_cut) {
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    conn_suspend(stream->conn);
    return 0;
}

static void stream_unref(void *cls)
{
    struct http_stream *stream = cls;

    if (--stream->refs == 0) {
        buf_done(&stream->backlog);
        free(stream);
    }
}

struct http_stream *http_stream_open(struct http_request *req,
                                     void (*on_gone)(struct http_stream *stream, void *userdata),
                                     void *userdata)
{
    struct http_stream *stream;
    struct MHD_Response *response;

    if (!req->conn) {
        request_answer(req, MHD_HTTP_OK, NULL);
        return NULL;
    }
    stream = xcalloc(1, sizeof(*stream));
    stream->server = req->server;
    stream->refs = 2;
    stream->conn = req->conn;
    stream->on_gone = on_gone;
    stream->on_gone_data = userdata;
    stream->progress_ms = server_now_ms(req->server);
    /* Room for the last comment beyond what the reader may lag. */
    stream->backlog =
        BUF_INIT(req->server->settings.stream_backlog_bytes + sizeof(CUT_COMMENT) + 1);
    response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, stream_read,
                                                 stream, stream_unref);
    if (!response) {
        abort();
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    /* The end of the stream is the end of the connection: nobody reuses it by mistake. */
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    LIST_INSERT_HEAD(&req->server->streams, stream, all);
    server_arm(req->server, stream->progress_ms + req->server->settings.keepalive_ms);
    req->conn->stream = stream;
    request_answer(req, MHD_HTTP_OK, response);
    conn_watch(stream->conn);
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
    buf_adds(&stream->backlog, CUT_COMMENT);
    conn_wait_for(stream->conn, WAIT_SENT);
    conn_resume(stream->conn);
}

int http_stream_send(struct http_stream *stream, const void *data, size_t len)
{
    if (!stream->conn || stream->is_cut || stream->is_closed) {
        return -EPIPE;
    }
    stream_compact(stream);
    if (len > stream->server->settings.stream_backlog_bytes ||
        stream->backlog.len + len > stream->server->settings.stream_backlog_bytes) {
        stream_cut(stream);
        return -ENOBUFS;
    }
    if (!stream->backlog.len) {
        stream->progress_ms = server_now_ms(stream->server);
    }
    buf_add(&stream->backlog, data, len);
    conn_resume(stream->conn);
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
    if (stream->conn) {
        conn_wait_for(stream->conn, WAIT_SENT);
        conn_resume(stream->conn);
    }
}

void stream_lose(struct http_stream *stream)
{
    stream->conn = NULL;
    LIST_REMOVE(stream, all);
    if (stream->on_gone) {
        stream->on_gone(stream, stream->on_gone_data);
    }
    stream_unref(stream);
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
