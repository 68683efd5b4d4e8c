/* Signed-in sessions that check what they receive: every seq of the conversation they watch, densely. */
#ifndef SESSION_H
#define SESSION_H
#include "common.h"
#include "conn.h"
#include "scan.h"

struct session {
    struct conn conn; /* first: a session is found from its connection */
    uint32_t index, writer;
    const char *token, *conversation;
    const char *extras;  /* further members of the sign-in frame, or "" */
    uint64_t next, last; /* the seq that must come next (0: hello tells), the one a resume ends at */
    bool ready, resumed;
};

struct session_events {
    void (*ready)(struct session *);
    /* A frame before anyone looks into it; true: it was dealt with.  NULL: none. */
    bool (*raw)(struct session *, const char *text, size_t size);
    /* The next message of the watched conversation; its number was right. */
    void (*message)(struct session *, uint64_t seq, struct span frame, struct span text);
    void (*ack)(struct session *, uint64_t ref, uint64_t seq);
    void (*resumed)(struct session *);
    /* Anything that should not have come, a lost connection included.  NULL: the run fails. */
    void (*trouble)(struct session *, const char *why);
};

extern struct session *sessions;
extern uint32_t session_count;
/* Frames that no bench asked for but that the protocol allows: presence, cursors, typing. */
extern uint64_t ephemeral_frames;

/* Read a plan: one session a line, with tabs between token, conversation, writer, next, last and
   extras ("-": none).  bench/plan.py writes it. */
void sessions_load(const char *path);

/* Connect all sessions, at most `at_once` of them on the way at a time, and wait for every hello. */
void sessions_connect(int port, uint32_t at_once, double within_s, const struct session_events *events);
void sessions_close(void);

/* As `sessions_connect`, but to a server that knows no sign-in: ready when the upgrade is done. */
void sessions_connect_bare(int port, const struct session_events *events);

void session_trouble(struct session *session, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Send one message of the watched conversation with its number as `ref` and within the `client_id`. */
void session_publish(struct session *session, const char *run, uint32_t writer, uint64_t n);

/* Who wrote a text and which it is; fails the session unless it is `text_of` of the two. */
bool session_text(struct session *session, struct span text, uint32_t *writer, uint64_t *n);
#endif
