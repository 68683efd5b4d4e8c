/* The least that a fan-out can cost: `kernel_fanout PORT`.

   Answers every WebSocket upgrade.  A first frame tells what a connection is: "reader" or "writer".
   From then on each frame of the writer goes to every reader as it came, unmasked, with one `send` a
   frame and reader; nothing is parsed, logged, authorised or encoded.  What a real server achieves
   is measured against this. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

#define MOST 32768
#define ROOM 65536

static struct client {
    bool open, known, reader;
    size_t held;
    unsigned char *hold;
} clients[MOST];
static int readers[MOST], reader_count;

static void send_all(int fd, const void *bytes, size_t size) {
    /* The writer waits for every reader, so a full socket would mean that the measure is wrong. */
    if (send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size) fail("send: %s", strerror(errno));
}

static void leave(int fd) {
    for (int i = 0; i < reader_count; i++)
        if (readers[i] == fd) readers[i--] = readers[--reader_count];
    free(clients[fd].hold);
    clients[fd] = (struct client){0};
    close(fd);
}

/* Bytes used of what a client sent; 0: wait for more. */
static size_t take(int fd, unsigned char *at, size_t size) {
    static const char ANSWER[] =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    struct client *client = &clients[fd];
    if (!client->open) {
        unsigned char *stop = memmem(at, size, "\r\n\r\n", 4);
        if (!stop) return 0;
        client->open = true;
        send_all(fd, ANSWER, sizeof ANSWER - 1);
        return (size_t)(stop - at) + 4;
    }
    if (size < 6) return 0;
    size_t length = at[1] & 127, head = 6;
    if (at[0] != 0x81 || length == 127) fail("a frame that this program does not know");
    if (length == 126) {
        if (size < 8) return 0;
        length = (size_t)at[2] << 8 | at[3];
        head = 8;
    }
    if (size < head + length) return 0;
    unsigned char *payload = at + head, mask[4];
    memcpy(mask, payload - 4, 4);
    for (size_t i = 0; i < length; i++) payload[i] ^= mask[i & 3];
    if (!client->known) {
        client->known = true;
        client->reader = payload[0] == 'r';
        if (client->reader) readers[reader_count++] = fd;
        return head + length;
    }
    /* A server's head is the client's without the mask: four bytes shorter, right before the payload. */
    unsigned char *frame = payload - (head - 4);
    memmove(frame, at, head - 4);
    frame[1] &= 127;
    for (int i = 0; i < reader_count; i++) send_all(readers[i], frame, head - 4 + length);
    return head + length;
}

static void serve(int fd) {
    static unsigned char buffer[2 * ROOM];
    struct client *client = &clients[fd];
    size_t held = client->held;
    if (held) memcpy(buffer, client->hold, held);
    ssize_t got = recv(fd, buffer + held, ROOM, 0);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) return;
        leave(fd);
        return;
    }
    size_t size = held + (size_t)got, used = 0, step;
    while (used < size && (step = take(fd, buffer + used, size - used))) used += step;
    client->held = size - used;
    if (client->held > ROOM) fail("a frame without an end");
    client->hold = client->held ? grow(client->hold, client->held) : (free(client->hold), NULL);
    if (client->held) memcpy(client->hold, buffer + used, client->held);
}

int main(int count, char **args) {
    if (count != 2) fail("kernel_fanout PORT");
    int one = 1, door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), set = epoll_create1(EPOLL_CLOEXEC);
    struct sockaddr_in here = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)atoi(args[1])),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(door, (void *)&here, sizeof here) || listen(door, 4096)) fail("port %s: %s", args[1], strerror(errno));
    struct epoll_event on = {.events = EPOLLIN, .data.fd = door}, ready[512];
    epoll_ctl(set, EPOLL_CTL_ADD, door, &on);
    for (;;) {
        int many = epoll_wait(set, ready, 512, -1);
        for (int i = 0; i < many; i++) {
            int fd = ready[i].data.fd;
            if (fd != door) {
                serve(fd);
                continue;
            }
            int guest = accept4(door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (guest < 0) continue;
            if (guest >= MOST) fail("too many connections");
            setsockopt(guest, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            on.data.fd = guest;
            epoll_ctl(set, EPOLL_CTL_ADD, guest, &on);
        }
    }
}
