/* Calls the functions of scan.c as Python does, on buffers of exactly the size that Python gives them: with the address
 * sanitizer the first byte that is read or written beyond one ends the process. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

int64_t swp_frame(const uint8_t *, int64_t, int64_t, int64_t, int64_t *, int64_t *, int64_t *, int64_t *);
int64_t swp_elements(const uint8_t *, int64_t, int64_t, int64_t *, int64_t *, int64_t *);
int64_t swp_scan(const uint8_t *, const int64_t *, const int64_t *, const int64_t *, int64_t, const uint8_t *,
                 const int64_t *, const uint8_t *, const int64_t *, const int64_t *, uint64_t, int, int64_t, int64_t,
                 double, int, int64_t *, int32_t *, int64_t *, int64_t *);
void swp_gather(const uint8_t *, const int64_t *, const int32_t *, int64_t, uint8_t *);

/* Room for as many values, and not one byte more. */
#define ROOM(count, type) ((type *)malloc((size_t)(count) * sizeof(type)))

struct records {
    uint8_t *data; /* as of a Python bytes object: a NUL behind its end */
    int64_t count, *starts, *ends, *numbers;
};

static void forget(struct records *records) {
    free(records->data);
    free(records->starts);
    free(records->ends);
    free(records->numbers);
}

/* The lines of `input`, with an LF behind the last one. */
static struct records frame(const uint8_t *input, int64_t size) {
    int whole = size == 0 || input[size - 1] == '\n';
    int64_t length = size + !whole, lines, most = length / 2;
    struct records made = {ROOM(length + 1, uint8_t), 0, ROOM(most, int64_t), ROOM(most, int64_t), ROOM(most, int64_t)};
    memcpy(made.data, input, (size_t)size);
    if (!whole) made.data[size] = '\n';
    made.data[length] = 0;
    made.count = swp_frame(made.data, 0, length, 1, made.starts, made.ends, made.numbers, &lines);
    int64_t found = 0;
    for (int64_t i = 0; i < length; i++) found += made.data[i] == '\n';
    if (lines != found || made.count > lines) abort();
    for (int64_t r = 0; r < made.count; r++)
        if (made.starts[r] >= made.ends[r] || (r && made.starts[r] <= made.ends[r - 1])) abort();
    return made;
}

/* `input` in records that meet where `choice` says, with no LF between them, as the elements of an array have none. */
static struct records cut(const uint8_t *input, int64_t size, uint64_t choice) {
    int64_t count = 1 + (int64_t)(choice % 3);
    struct records made = {ROOM(size + 1, uint8_t), count, ROOM(count, int64_t), ROOM(count, int64_t), ROOM(count, int64_t)};
    memcpy(made.data, input, (size_t)size);
    made.data[size] = 0;
    for (int64_t r = 0, at = 0; r < count; r++) {
        made.numbers[r] = r;
        made.starts[r] = at;
        at = r == count - 1 ? size : at + (int64_t)((choice >> (8 + 16 * r)) % (uint64_t)(size - at + 1));
        made.ends[r] = at;
    }
    return made;
}

/* Copies texts of these lengths. */
static void gather(const uint8_t *data, const int64_t *positions, const int32_t *lengths, int64_t count) {
    int32_t *offsets = ROOM(count + 1, int32_t), end = 0;
    for (int64_t r = 0; r < count; r++) {
        offsets[r] = end;
        if (lengths[r] > 0) end += lengths[r];
    }
    offsets[count] = end;
    uint8_t *text = ROOM(end, uint8_t);
    swp_gather(data, positions, offsets, count, text);
    free(text);
    free(offsets);
}

int64_t run_frame(const uint8_t *input, int64_t size) {
    struct records records = frame(input, size);
    int32_t *lengths = ROOM(records.count, int32_t);
    for (int64_t r = 0; r < records.count; r++) lengths[r] = (int32_t)(records.ends[r] - records.starts[r]);
    gather(records.data, records.starts, lengths, records.count);
    free(lengths);
    int64_t count = records.count;
    forget(&records);
    return count;
}

/* The state of swp_elements, as in scan.c and arrays.py. */
enum { AT, ELEMENT, LINE = 7, STOPPED, WORDS };
enum { AFTER_ARRAY = 1, MISPLACED };

/* One block, which ends with the input or goes on in the next; returns how many elements end in it, and through `after`
 * whether something stands behind the array. */
static int64_t elements(const uint8_t *input, int64_t size, int64_t room, uint64_t choice, int64_t *state, int *after) {
    uint8_t *data = ROOM(size + 1, uint8_t);
    int64_t *starts = ROOM(room, int64_t), *ends = ROOM(room, int64_t), found = 0;
    memcpy(data, input, (size_t)size);
    data[size] = 0;
    state[AT] = state[ELEMENT] = 0;
    while (state[AT] < size && !*after) {
        int64_t before = state[AT], count = swp_elements(data, size, room, state, starts, ends);
        if (count < 0 || count > room || state[AT] < before || state[AT] > size) abort();
        for (int64_t e = 0; e < count; e++)
            if (starts[e] < (e ? ends[e - 1] : 0) || ends[e] < starts[e] || ends[e] > size) abort();
        found += count;
        if (state[STOPPED] == AFTER_ARRAY) *after = 1;
        if (state[STOPPED] != MISPLACED) continue;
        state[LINE] = 0;
        if (choice & 1) { /* the array was cut off before this line */
            int64_t at = state[AT];
            memset(state, 0, WORDS * sizeof *state);
            state[AT] = state[ELEMENT] = at;
        }
    }
    free(data);
    free(starts);
    free(ends);
    return found;
}

int64_t run_elements(const uint8_t *input, int64_t size, uint64_t choice) {
    int64_t state[WORDS] = {0}, found = 0, block = choice & 2 ? size : 1 + (int64_t)(choice >> 8 & 0xFF);
    int after = 0;
    for (int64_t from = 0; from < size && !after; from += block) {
        int64_t length = from + block < size ? block : size - from;
        found += elements(input + from, length, 1 + (int64_t)(choice >> 16 & 7), choice, state, &after);
    }
    return found;
}

int64_t run_scan(const struct contract *contract, const uint8_t *input, int64_t size, uint64_t choice) {
    struct records records = choice & 1 ? frame(input, size) : cut(input, size, choice >> 2);
    int in_place = choice >> 1 & 1;
    int64_t count = records.count, cells = count * contract->width;
    int64_t *values = ROOM(cells, int64_t), *numbers = ROOM(count, int64_t), *unsure = ROOM(count, int64_t);
    int32_t *lengths = ROOM(cells, int32_t);
    int64_t sure = swp_scan(records.data, records.starts, records.ends, records.numbers, count, contract->keys,
                            contract->key_ends, contract->kinds, contract->lowest, contract->highest,
                            contract->required, contract->width, contract->earliest_ms, contract->latest_ms,
                            contract->ms_above, in_place, values, lengths, numbers, unsure);
    if (sure < 0 || sure > count) abort();
    for (int64_t u = 0; u < count - sure; u++)
        if (unsure[u] < 0 || unsure[u] >= count || (u && unsure[u] <= unsure[u - 1])) abort();
    /* In place, what lies at the others' indexes means nothing: texts are gathered of all or of none. */
    if (!in_place || sure == count)
        for (int k = 0; k < contract->width; k++)
            if (contract->kinds[k] == TEXT || contract->kinds[k] == TEXT_TRIMMED)
                gather(records.data, values + k * count, lengths + k * count, sure);
    free(values);
    free(lengths);
    free(numbers);
    free(unsure);
    forget(&records);
    return sure;
}
