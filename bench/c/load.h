/* What the kinds of load share: their options and their names. */
#ifndef LOAD_H
#define LOAD_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct options {
    int port;
    pid_t server;        /* whose CPU time is measured */
    const char *plan;    /* file of sessions */
    const char *run;     /* goes into every client_id, so that no two runs share one */
    uint32_t window;     /* publishes outstanding (fan-out) */
    uint32_t payload;    /* fan-out from the bare program: bytes of payload; 0: from Tertulia */
    double rate;         /* sends a second (latency) */
    double warm_s, measure_s;
};

void run_fanout(const struct options *options);
void run_durable(const struct options *options);
void run_latency(const struct options *options);
void run_idle(const struct options *options);
void run_reconnect(const struct options *options);

/* CPU seconds of this process, to see whether the load was the limit. */
double own_cpu(void);
#endif
