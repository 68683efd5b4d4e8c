/* A strict scanner of JSON objects that copies nothing: it hands out the members as spans. */
#ifndef SCAN_H
#define SCAN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct span {
    const char *at;
    size_t size;
};

struct scan {
    const char *at, *end;
    bool first, array;
};

/* Start on the members of an object, or the elements of an array.  False: it is not one. */
bool scan_object(struct scan *scan, struct span whole);
bool scan_array(struct scan *scan, struct span whole);

/* The next member (a key without its quotes) or element.  1: there is one, 0: the end, -1: malformed. */
int scan_next(struct scan *scan, struct span *key, struct span *value);

/* The value of one key of an object.  False: it is absent, or the object is malformed. */
bool scan_find(struct span object, const char *key, struct span *value);

bool span_is(struct span span, const char *text);
/* Whether a value is the string `text`, which holds nothing that JSON escapes. */
bool span_is_string(struct span value, const char *text);
/* The characters between the quotes of a string without escapes.  False: it is no such thing. */
bool span_string(struct span value, struct span *inside);
/* False: the value is not a whole number that fits. */
bool span_number(struct span value, uint64_t *number);
#endif
