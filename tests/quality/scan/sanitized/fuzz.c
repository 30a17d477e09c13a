/* fuzz frame|elements|scan SEED SECONDS INPUTS CONTRACTS CORPUS FOUND: mutated lines of a corpus through a harness, until so many
 * seconds are over or so many inputs done (0: no such end). The same seed gives the same inputs. An input on which a
 * sanitizer aborts the process is left in the file FOUND.
 *
 * CONTRACTS (test_sanitized.py writes it): for each contract its name, width, required fields, earliest and latest
 * time, limit of seconds; then its fields' kind, lowest, highest, key in hexadecimal. CORPUS is a folder of CONTRACT.ndjson. */
#include "harness.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_CONTRACTS = 16, MOST_LINES = 64, MOST_BYTES = 1 << 14 };

struct line {
    uint8_t *bytes;
    int64_t size;
};

static struct contract contracts[MOST_CONTRACTS];
static struct line lines[MOST_CONTRACTS][MOST_LINES];
static int contract_count, line_counts[MOST_CONTRACTS];

static uint8_t input[MOST_BYTES];
static int64_t size;
static const char *found;
static uint64_t state;

/* What JSON, UTF-8 and times turn on. */
static const char *const TOKENS[] = {
    "\"", "\\", "\\u", "\\u0041", "\\ud83d", "\\ud83d\\ude00", "\\u0000", "\\n", "\\\"", "{", "}", "[", "]", ",", ":",
    " ", "\t", "\r", "\n", "\r\n", "null", "nul", "true", "-", "0", "-0", "1e5", ".", "1.", "999999999999999999",
    "9223372036854775808", "\x01", "\x7f", "\x80", "\xc3", "\xc3\xa9", "\xe0\xa0", "\xed\xa0\x80", "\xf0\x9f\x98\x80",
    "\xf4\x90\x80\x80", "2026-01-01T00:00:00Z", "+02:30", "-2359", ".123456789", "T", "Z", "        ",
};
enum { TOKEN_COUNT = sizeof TOKENS / sizeof *TOKENS };

/* xorshift64* */
static uint64_t next(void) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 2685821657736338717u;
}

static int64_t below(int64_t limit) { return limit > 0 ? (int64_t)((next() >> 11) % (uint64_t)limit) : 0; }

static void fail(const char *what) {
    fprintf(stderr, "fuzz: %s\n", what);
    exit(2);
}

static void keep_input(int number) {
    FILE *file = fopen(found, "wb");
    if (file) {
        fwrite(input, 1, (size_t)size, file);
        fclose(file);
        fprintf(stderr, "fuzz: the input is in %s\n", found);
    }
    signal(number, SIG_DFL);
}

static void read_contracts(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) fail("no contracts");
    struct contract *c = contracts;
    for (; contract_count < MOST_CONTRACTS; contract_count++, c++) {
        if (fscanf(file, "%63s %d %" SCNu64 " %" SCNd64 " %" SCNd64 " %lf", c->name, &c->width, &c->required,
                   &c->earliest_ms, &c->latest_ms, &c->ms_above) != 6) break;
        size_t width = (size_t)c->width;
        uint8_t keys[MOST_BYTES];
        int64_t end = 0;
        c->kinds = malloc(width);
        c->key_ends = malloc(width * sizeof(int64_t));
        c->lowest = malloc(width * sizeof(int64_t));
        c->highest = malloc(width * sizeof(int64_t));
        for (size_t k = 0; k < width; k++) {
            if (fscanf(file, "%" SCNu8 " %" SCNd64 " %" SCNd64 " ", &c->kinds[k], &c->lowest[k], &c->highest[k]) != 3)
                fail("a field is cut off");
            while (end < MOST_BYTES && fscanf(file, "%2" SCNx8, &keys[end]) == 1) {
                end++;
                int after = fgetc(file);
                if (after == '\n') break;
                ungetc(after, file);
            }
            c->key_ends[k] = end;
        }
        c->keys = malloc((size_t)end);
        memcpy(c->keys, keys, (size_t)end);
    }
    fclose(file);
}

static void read_corpus(const char *folder, int c) {
    char path[4096];
    static uint8_t bytes[MOST_BYTES];
    snprintf(path, sizeof path, "%s/%s.ndjson", folder, contracts[c].name);
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    for (int64_t length = 0, byte; line_counts[c] < MOST_LINES && (byte = fgetc(file)) != EOF;) {
        if (byte != '\n') {
            if (length == MOST_BYTES) fail("a line of the corpus is too long");
            bytes[length++] = (uint8_t)byte;
            continue;
        }
        struct line *line = &lines[c][line_counts[c]++];
        *line = (struct line){malloc((size_t)length), length};
        memcpy(line->bytes, bytes, (size_t)length);
        length = 0;
    }
    fclose(file);
    if (!line_counts[c]) fail("an empty corpus");
}

/* Puts bytes in the place of `out` bytes of the input, as far as there is room. */
static void put(int64_t at, int64_t out, const void *bytes, int64_t length) {
    if (size - out + length > MOST_BYTES) return;
    memmove(input + at + length, input + at + out, (size_t)(size - at - out));
    memcpy(input + at, bytes, (size_t)length);
    size += length - out;
}

static void add_line(int contract) {
    int c = below(4) ? contract : (int)below(contract_count);
    struct line *line = &lines[c][below(line_counts[c])];
    put(size, 0, line->bytes, line->size);
}

static void mutate(void) {
    int64_t at = below(size), length = 1 + below(below(4) ? 8 : size - at);
    const char *token = TOKENS[below(TOKEN_COUNT)];
    uint8_t copy[MOST_BYTES];
    if (length > size - at) length = size - at;
    switch (below(7)) {
    case 0: if (size) input[at] ^= (uint8_t)(1 << below(8)); break;
    case 1: if (size) input[at] = (uint8_t)below(256); break;
    case 2: put(at, 0, token, (int64_t)strlen(token)); break;
    case 3: put(at, length, token, (int64_t)strlen(token)); break;
    case 4: put(at, length, "", 0); break;
    case 5: memcpy(copy, input + at, (size_t)length); put(below(size + 1), 0, copy, length); break;
    case 6: size = at; break;
    }
}

static void make_input(int contract, int in_array) {
    size = 0;
    if (in_array) put(0, 0, "[", 1);
    for (int64_t left = below(2) ? 1 : 1 + below(4); left; left--) {
        add_line(contract);
        if (left > 1) put(size, 0, in_array ? ",\n" : "\r\n", 2);
    }
    if (in_array) put(size, 0, "]", 1);
    for (int64_t left = below(2) ? 1 + below(5) : 0; left; left--) mutate();
}

int main(int argc, char **argv) {
    if (argc != 8) fail("harness, seed, seconds, inputs, contracts, corpus, found?");
    int scans = !strcmp(argv[1], "scan"), in_array = !strcmp(argv[1], "elements");
    uint64_t seed = strtoull(argv[2], NULL, 10);
    int64_t seconds = atoll(argv[3]), inputs = atoll(argv[4]), done = 0, records = 0;
    found = argv[7];
    state = seed * 2 + 1;
    read_contracts(argv[5]);
    for (int c = 0; c < contract_count; c++) read_corpus(argv[6], c);
    signal(SIGABRT, keep_input);
    for (time_t end = time(NULL) + seconds; (!seconds || time(NULL) < end) && (!inputs || done < inputs); done++) {
        int c = (int)below(contract_count);
        make_input(c, in_array);
        uint8_t *exact = malloc((size_t)size);
        memcpy(exact, input, (size_t)size);
        records += scans      ? run_scan(&contracts[c], exact, size, next())
                   : in_array ? run_elements(exact, size, next())
                              : run_frame(exact, size);
        free(exact);
    }
    printf("{\"harness\": \"%s\", \"seed\": %" PRIu64 ", \"inputs\": %" PRId64 ", \"records\": %" PRId64 "}\n", argv[1],
           seed, done, records);
    return 0;
}
