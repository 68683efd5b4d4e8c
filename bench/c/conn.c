#define _GNU_SOURCE
#include "conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common.h"

#define LONGEST (4u << 20)
#define READ_AT_ONCE (1u << 20)
#define SOURCES 8

static int epoll_fd = -1, timer_fd = -1, server_port;
static char request[512];
static const struct conn_events *tell;
static unsigned char arena[LONGEST + READ_AT_ONCE];
static uint32_t mask_state = 0x9e3779b9;

/* RFC 6455 section 1.3 works this pair of key and answer out. */
static const char KEY[] = "dGhlIHNhbXBsZSBub25jZQ==";
static const char ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

void conns_start(int port, const char *path, const struct conn_events *events) {
    server_port = port;
    tell = events;
    snprintf(request, sizeof request,
             "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n",
             path, port, KEY);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event on = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_fd < 0 || timer_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &on))
        fail("epoll: %s", strerror(errno));
}

void conns_alarm(uint64_t at) {
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(at / SECOND), .tv_nsec = (long)(at % SECOND)}};
    if (timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL)) fail("timerfd: %s", strerror(errno));
}

static void watch(struct conn *conn, int how) {
    struct epoll_event on = {.events = EPOLLIN | (conn->wants_write ? EPOLLOUT : 0), .data.ptr = conn};
    if (epoll_ctl(epoll_fd, how, conn->fd, &on)) fail("epoll_ctl: %s", strerror(errno));
}

static void drop(struct conn *conn) {
    close(conn->fd);
    free(conn->hold);
    free(conn->out);
    conn->hold = conn->out = NULL;
    conn->held = conn->out_size = conn->out_sent = 0;
    conn->state = CONN_GONE;
}

static void end(struct conn *conn, const char *why) {
    drop(conn);
    tell->gone(conn, why);
}

void conn_close(struct conn *conn) {
    if (conn->state != CONN_NEW && conn->state != CONN_GONE) drop(conn);
}

void conn_connect(struct conn *conn) {
    static int source = 1;
    int one = 1;
    for (;; source++) {
        conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (conn->fd < 0) fail("socket: %s", strerror(errno));
        setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (source > 1) {
            /* The ports of 127.0.0.1 are used up: go on from 127.0.0.2 and so on. */
            struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000u + (uint32_t)source)};
            setsockopt(conn->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
            if (bind(conn->fd, (void *)&from, sizeof from)) fail("bind: %s", strerror(errno));
        }
        struct sockaddr_in to = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)server_port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        if (!connect(conn->fd, (void *)&to, sizeof to) || errno == EINPROGRESS) break;
        int why = errno;
        close(conn->fd);
        if (why != EADDRNOTAVAIL || source == SOURCES) fail("connect: %s", strerror(why));
    }
    conn->state = CONN_CONNECTING;
    conn->wants_write = true;
    watch(conn, EPOLL_CTL_ADD);
}

static void keep(struct conn *conn, const void *bytes, size_t size) {
    conn->out = grow(conn->out, conn->out_size + size);
    memcpy(conn->out + conn->out_size, bytes, size);
    conn->out_size += (uint32_t)size;
    if (!conn->wants_write) {
        conn->wants_write = true;
        watch(conn, EPOLL_CTL_MOD);
    }
}

static void put(struct conn *conn, const unsigned char *bytes, size_t size) {
    ssize_t sent = 0;
    if (!conn->out_size) {
        sent = send(conn->fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0) {
            /* What broke the connection is told where it is read. */
            if (errno != EAGAIN) return;
            sent = 0;
        }
    }
    if ((size_t)sent < size) keep(conn, bytes + sent, size - (size_t)sent);
}

static void put_frame(struct conn *conn, int opcode, const char *payload, size_t size) {
    static unsigned char frame[1 << 16];
    size_t head = 2;
    if (size > 65000) fail("a frame of %zu bytes is more than this program sends", size);
    frame[0] = (unsigned char)(0x80 | opcode);
    if (size < 126) {
        frame[1] = (unsigned char)(0x80 | size);
    } else {
        frame[1] = 0x80 | 126;
        frame[2] = (unsigned char)(size >> 8);
        frame[3] = (unsigned char)size;
        head = 4;
    }
    mask_state ^= mask_state << 13, mask_state ^= mask_state >> 17, mask_state ^= mask_state << 5;
    unsigned char *mask = frame + head, *out = mask + 4;
    memcpy(mask, &mask_state, 4);
    for (size_t i = 0; i < size; i++) out[i] = (unsigned char)payload[i] ^ mask[i & 3];
    put(conn, frame, head + 4 + size);
}

void conn_send(struct conn *conn, const char *text, size_t size) {
    if (conn->state == CONN_OPEN) put_frame(conn, 1, text, size);
}

static void writable(struct conn *conn) {
    if (conn->state == CONN_CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            end(conn, strerror(error));
            return;
        }
        conn->state = CONN_UPGRADING;
        conn->wants_write = false;
        watch(conn, EPOLL_CTL_MOD);
        put(conn, (const unsigned char *)request, strlen(request));
        return;
    }
    ssize_t sent = send(conn->fd, conn->out + conn->out_sent, conn->out_size - conn->out_sent, MSG_NOSIGNAL);
    if (sent < 0) return;
    conn->out_sent += (uint32_t)sent;
    if (conn->out_sent < conn->out_size) return;
    free(conn->out);
    conn->out = NULL;
    conn->out_size = conn->out_sent = 0;
    conn->wants_write = false;
    watch(conn, EPOLL_CTL_MOD);
}

/* How many bytes of the answer to the upgrade were used; 0: it is not whole yet. */
static size_t upgrade(struct conn *conn, const unsigned char *at, size_t size) {
    char why[96];
    const unsigned char *stop = memmem(at, size, "\r\n\r\n", 4);
    if (!stop) {
        if (size > 8192) end(conn, "an endless answer to the upgrade");
        return 0;
    }
    size_t used = (size_t)(stop - at) + 4;
    if (used < 12 || memcmp(at, "HTTP/1.1 101", 12)) {
        snprintf(why, sizeof why, "upgrade refused: %.*s", (int)(used < 40 ? used : 40), (const char *)at);
        end(conn, why);
    } else if (!memmem(at, used, ACCEPT, strlen(ACCEPT))) {
        end(conn, "wrong Sec-WebSocket-Accept");
    } else {
        conn->state = CONN_OPEN;
        tell->open(conn);
    }
    return used;
}

static void closed(struct conn *conn, const unsigned char *at, size_t size) {
    char why[160];
    if (size < 2) {
        end(conn, "closed by the server without a code");
        return;
    }
    snprintf(why, sizeof why, "closed by the server: %d %.*s", at[0] << 8 | at[1], (int)(size - 2), (const char *)at + 2);
    end(conn, why);
}

/* How many bytes the frame at `at` used; 0: it is not whole yet. */
static size_t frame(struct conn *conn, const unsigned char *at, size_t size) {
    if (size < 2) return 0;
    int opcode = at[0] & 15;
    size_t head = 2, length = at[1] & 127;
    if (!(at[0] & 0x80) || at[0] & 0x70 || at[1] & 0x80) {
        end(conn, "a frame that is fragmented, compressed or masked");
        return size;
    }
    if (length == 126) {
        if (size < 4) return 0;
        length = (size_t)at[2] << 8 | at[3];
        head = 4;
    } else if (length == 127) {
        if (size < 10) return 0;
        length = 0;
        for (int i = 2; i < 10; i++) length = length << 8 | at[i];
        head = 10;
    }
    if (length > LONGEST - 16) {
        end(conn, "a frame too long to be true");
        return size;
    }
    if (size < head + length) return 0;
    const unsigned char *payload = at + head;
    conn->frames++;
    conn->bytes += head + length;
    switch (opcode) {
        case 1: tell->text(conn, (const char *)payload, length); break;
        case 8: closed(conn, payload, length); break;
        case 9: put_frame(conn, 10, (const char *)payload, length); break;
        case 10: break;
        default: end(conn, "a frame of a kind that is not ours");
    }
    return head + length;
}

static void readable(struct conn *conn) {
    size_t held = conn->held;
    if (held) memcpy(arena, conn->hold, held);
    ssize_t got = recv(conn->fd, arena + held, READ_AT_ONCE, 0);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) return;
        end(conn, got ? strerror(errno) : "the server hung up");
        return;
    }
    conn->reads++;
    size_t size = held + (size_t)got, used = 0;
    while (used < size && conn->state != CONN_GONE) {
        const unsigned char *at = arena + used;
        size_t step = conn->state == CONN_OPEN ? frame(conn, at, size - used) : upgrade(conn, at, size - used);
        if (!step) break;
        used += step;
    }
    if (conn->state == CONN_GONE) return;
    size_t rest = size - used;
    if (rest) {
        conn->hold = grow(conn->hold, rest);
        memcpy(conn->hold, arena + used, rest);
    } else if (conn->hold) {
        free(conn->hold);
        conn->hold = NULL;
    }
    conn->held = (uint32_t)rest;
}

int conns_turn(int wait_ms) {
    struct epoll_event ready[512];
    int count = epoll_wait(epoll_fd, ready, 512, wait_ms);
    if (count < 0) {
        if (errno == EINTR) return 0;
        fail("epoll_wait: %s", strerror(errno));
    }
    for (int i = 0; i < count; i++) {
        struct conn *conn = ready[i].data.ptr;
        if (!conn) {
            uint64_t rings;
            if (read(timer_fd, &rings, sizeof rings) < 0 && errno != EAGAIN) fail("timerfd: %s", strerror(errno));
            continue;
        }
        if (conn->state == CONN_GONE) continue;
        if (conn->wants_write && ready[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) writable(conn);
        if (conn->state != CONN_GONE && conn->state != CONN_CONNECTING && ready[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
            readable(conn);
    }
    return count;
}
