#include <stdint.h>

enum kind { OTHER, INTEGER, TEXT, TEXT_TRIMMED, EPOCH };

/* A contract's fields, as scanner.py compiles them; each array is as long as it must be. */
struct contract {
    char name[64];
    int width;
    uint64_t required;
    int64_t earliest_ms, latest_ms;
    double ms_above;
    uint8_t *keys, *kinds;
    int64_t *key_ends, *lowest, *highest;
};

/* Frames the lines of `input` and copies them; returns how many there are. */
int64_t run_frame(const uint8_t *input, int64_t size);

/* Cuts the elements of arrays, in blocks as `choice` says; returns how many there are. */
int64_t run_elements(const uint8_t *input, int64_t size, uint64_t choice);

/* Scans `input`, cut into records as `choice` says, and copies the texts; returns how many records are sure. */
int64_t run_scan(const struct contract *contract, const uint8_t *input, int64_t size, uint64_t choice);
