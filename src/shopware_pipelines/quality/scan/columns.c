/* What batches do with columns of plain memory (rows.py), how DuckDB reads them (feed.py), base64 (packed.py). */
#include <stdint.h>
#include <string.h>

/* Where records of these lengths begin and end if each has one byte between it and the next. */
void swp_spans(const int64_t *lengths, int64_t count, int64_t *starts, int64_t *ends) {
    int64_t at = 0;
    for (int64_t r = 0; r < count; r++) {
        starts[r] = at;
        ends[r] = at += lengths[r];
        at++;
    }
}

/* Indexes of the bytes that are not 0; returns how many there are. */
int64_t swp_where(const uint8_t *bytes, int64_t count, int64_t *indexes) {
    int64_t found = 0;
    for (int64_t i = 0; i < count; i++) {
        indexes[found] = i;
        found += bytes[i] != 0;
    }
    return found;
}

/* The values with these indexes. */
void swp_pick(const int64_t *values, const int64_t *indexes, int64_t count, int64_t *picked) {
    for (int64_t i = 0; i < count; i++) picked[i] = values[indexes[i]];
}

/* Moves the rows of these ascending indexes to the front of every column. */
void swp_keep(int64_t *values, int32_t *lengths, int64_t width, int64_t count, const int64_t *kept, int64_t rows) {
    for (int64_t k = 0; k < width; k++)
        for (int64_t i = 0; i < rows; i++) {
            values[k * count + i] = values[k * count + kept[i]];
            lengths[k * count + i] = lengths[k * count + kept[i]];
        }
}

/* Sets the bits (of bytes that are zero) of rows that are not null; returns how many are. */
int64_t swp_nulls(const int32_t *lengths, int64_t count, uint8_t *validity) {
    int64_t nulls = 0;
    for (int64_t r = 0; r < count; r++) {
        int null = lengths[r] < 0;
        nulls += null;
        validity[r >> 3] |= (uint8_t)(!null << (r & 7));
    }
    return nulls;
}

/* Where texts of these lengths, null being none, begin and the last one ends; returns that end. */
int64_t swp_offsets(const int32_t *lengths, int64_t count, int32_t *offsets) {
    int32_t at = 0;
    for (int64_t r = 0; r < count; r++) {
        offsets[r] = at;
        if (lengths[r] > 0) at += lengths[r];
    }
    offsets[count] = at;
    return at;
}

/* Seconds as whole milliseconds, halves up. Returns `count`, or the index of the first that is before 1970, after the
 * year 9999 or no number. */
int64_t swp_milliseconds(const double *seconds, int64_t count, int64_t *ms) {
    for (int64_t r = 0; r < count; r++) {
        if (!(seconds[r] >= 0 && seconds[r] < 253402300800.0)) return r;
        ms[r] = (int64_t)(seconds[r] * 1000 + 0.5);
    }
    return count;
}

/* Whether each of `count` texts of `length` bytes, one behind the other, begins with the first one's first `same` bytes
 * and has nothing but digits after them. */
int64_t swp_numbered(const uint8_t *text, int64_t count, int64_t length, int64_t same) {
    for (const uint8_t *p = text, *end = text + count * length; p < end; p += length) {
        if (memcmp(p, text, (size_t)same)) return 0;
        for (int64_t i = same; i < length; i++)
            if (p[i] < '0' || p[i] > '9') return 0;
    }
    return 1;
}

/* Decodes canonical base64 texts of these lengths, one behind the other, to bytes[at:], with an LF behind each one's
 * bytes and room for one byte more; writes where they begin and end, and raises `longest` to the length of the longest.
 * Returns where the next one would begin, or -1 if a text is not canonical. */
int64_t swp_base64(const uint8_t *text, const int64_t *lengths, int64_t count, uint8_t *bytes, int64_t at,
                   int64_t *starts, int64_t *ends, int64_t *longest) {
    static const char LETTERS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint32_t none = 1u << 31;
    /* What a letter at each of the four places adds to three bytes, the first of them the lowest byte. */
    uint32_t places[4][256];
    for (int i = 0; i < 1024; i++) places[i >> 8][i & 255] = none;
    for (uint32_t i = 0; i < 64; i++) {
        uint8_t letter = (uint8_t)LETTERS[i];
        places[0][letter] = i << 2;
        places[1][letter] = i >> 4 | (i & 15) << 12;
        places[2][letter] = (i >> 2) << 8 | (i & 3) << 22;
        places[3][letter] = i << 16;
    }
    for (int64_t r = 0; r < count; r++) {
        const uint8_t *p = text, *end = text += lengths[r];
        uint8_t *out = bytes + at;
        uint32_t wrong = 0, three;
        int pad = lengths[r] ? (end[-1] == '=') + (end[-1] == '=' && end[-2] == '=') : 0;
        if (lengths[r] % 4) return -1;
        for (const uint8_t *whole = pad ? end - 4 : end; p < whole; p += 4, out += 3) {
            three = places[0][p[0]] | places[1][p[1]] | places[2][p[2]] | places[3][p[3]];
            wrong |= three;
            uint8_t four[4] = {(uint8_t)three, (uint8_t)(three >> 8), (uint8_t)(three >> 16)};
            memcpy(out, four, 4);
        }
        if (pad) {
            three = places[0][p[0]] | places[1][p[1]] | (pad == 1 ? places[2][p[2]] : 0);
            wrong |= three;
            if (three >> (pad == 1 ? 16 : 8) & 0xFF) return -1; /* bits that mean nothing */
            *out++ = (uint8_t)three;
            if (pad == 1) *out++ = (uint8_t)(three >> 8);
        }
        if (wrong & none) return -1;
        starts[r] = at;
        ends[r] = at = out - bytes;
        if (ends[r] - starts[r] > *longest) *longest = ends[r] - starts[r];
        bytes[at++] = '\n';
    }
    return at;
}

/* The Arrow C data interface (https://arrow.apache.org/docs/format/CDataInterface.html), for one table whose memory
 * belongs to Python (feed.py) and outlives its readers: so there is nothing to release. */
struct schema {
    const char *format, *name, *metadata;
    int64_t flags, n_children;
    struct schema **children, *dictionary;
    void (*release)(struct schema *);
    void *private_data;
};

struct array {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct array **children, *dictionary;
    void (*release)(struct array *);
    void *private_data;
};

struct table {
    struct schema schema;
    struct array array;
};

struct stream {
    int (*get_schema)(struct stream *, struct schema *);
    int (*get_next)(struct stream *, struct array *);
    const char *(*get_last_error)(struct stream *);
    void (*release)(struct stream *);
    struct table *table; /* NULL once it has been given */
};

static void release_schema(struct schema *schema) { schema->release = NULL; }

static void release_array(struct array *array) { array->release = NULL; }

static void release_stream(struct stream *stream) { stream->release = NULL; }

static int get_schema(struct stream *stream, struct schema *schema) {
    if (!stream->table) return 22; /* EINVAL */
    *schema = stream->table->schema;
    return 0;
}

static int get_next(struct stream *stream, struct array *array) {
    memset(array, 0, sizeof *array);
    if (stream->table) *array = stream->table->array;
    stream->table = NULL;
    return 0;
}

static const char *get_last_error(struct stream *stream) {
    (void)stream;
    return NULL;
}

/* Makes a stream of one table, whose children are set but for what is to be called. */
void swp_stream(struct stream *stream, struct table *table) {
    *stream = (struct stream){get_schema, get_next, get_last_error, release_stream, table};
    table->schema.release = release_schema;
    table->array.release = release_array;
    for (int64_t i = 0; i < table->schema.n_children; i++) {
        table->schema.children[i]->release = release_schema;
        table->array.children[i]->release = release_array;
    }
}
