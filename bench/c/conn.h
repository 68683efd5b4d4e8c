/* WebSocket client connections (RFC 6455) on one epoll. */
#ifndef CONN_H
#define CONN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum conn_state { CONN_NEW, CONN_CONNECTING, CONN_UPGRADING, CONN_OPEN, CONN_GONE };

struct conn {
    int fd;
    enum conn_state state;
    bool wants_write;
    uint32_t held, out_size, out_sent; /* bytes of an unfinished frame; bytes that wait to be written */
    unsigned char *hold, *out;
    uint64_t reads, frames, bytes; /* bytes of whole frames, their headers included */
};

struct conn_events {
    void (*open)(struct conn *);
    /* One whole text message; it is gone when this returns. */
    void (*text)(struct conn *, const char *text, size_t size);
    /* The connection is over: refused, closed by the server or broken.  It is CONN_GONE by then. */
    void (*gone)(struct conn *, const char *why);
};

void conns_start(int port, const char *path, const struct conn_events *events);
void conn_connect(struct conn *conn);
void conn_send(struct conn *conn, const char *text, size_t size);
void conn_close(struct conn *conn);

/* Serve what is ready, waiting at most `wait_ms` (-1: for ever).  Returns how many sockets were ready. */
int conns_turn(int wait_ms);

/* Wake `conns_turn` at this time of `now_ns` (0: never), or as soon as it was before now. */
void conns_alarm(uint64_t at);
#endif
