/* The load generator: `load KIND --port P --server PID --plan FILE …`.  Prints one JSON object. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common.h"

double own_cpu(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static const struct {
    const char *name;
    void (*run)(const struct options *);
} KINDS[] = {
    {"fanout", run_fanout}, {"durable", run_durable},     {"latency", run_latency},
    {"idle", run_idle},     {"reconnect", run_reconnect},
};

int main(int count, char **args) {
    struct options options = {.run = "run", .window = 1, .rate = 1, .warm_s = 1, .measure_s = 5};
    for (int i = 2; i + 1 < count; i += 2) {
        const char *name = args[i], *value = args[i + 1];
        if (!strcmp(name, "--port")) options.port = atoi(value);
        else if (!strcmp(name, "--server")) options.server = atoi(value);
        else if (!strcmp(name, "--plan")) options.plan = value;
        else if (!strcmp(name, "--run")) options.run = value;
        else if (!strcmp(name, "--window")) options.window = (uint32_t)atoi(value);
        else if (!strcmp(name, "--payload")) options.payload = (uint32_t)atoi(value);
        else if (!strcmp(name, "--rate")) options.rate = atof(value);
        else if (!strcmp(name, "--warm")) options.warm_s = atof(value);
        else if (!strcmp(name, "--measure")) options.measure_s = atof(value);
        else fail("unknown option %s", name);
    }
    if (count < 2 || count % 2 || !options.port || !options.server || !options.plan || options.rate <= 0)
        fail("load KIND --port P --server PID --plan FILE [--run R] [--window N] [--payload B] [--rate R] "
             "[--warm S] [--measure S]");
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if (!strcmp(args[1], KINDS[i].name)) {
            KINDS[i].run(&options);
            return 0;
        }
    fail("no such kind of load: %s", args[1]);
}
