/* Sessions that sign in and then only answer pings, until standard input ends. */
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "load.h"
#include "session.h"

static void message(struct session *session, uint64_t seq, struct span frame, struct span text) {
    (void)frame, (void)text;
    session_trouble(session, "seq %llu in an idle world", (unsigned long long)seq);
}

void run_idle(const struct options *options) {
    static const struct session_events events = {.message = message};
    sessions_load(options->plan);
    uint64_t began = now_ns();
    sessions_connect(options->port, 100, 120, &events);
    printf("{\"sessions\": %u, \"seconds\": %.3f}\n", session_count, (double)(now_ns() - began) / 1e9);
    fflush(stdout);
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    while (!poll(&input, 1, 0)) conns_turn(50);
    sessions_close();
    printf("{\"ephemeral\": %llu}\n", (unsigned long long)ephemeral_frames);
}
