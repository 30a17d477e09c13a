/* The inner loops of framing and scanning; framing.py and scan.py say what they mean and own every buffer.
 *
 * `data` is a Python bytes object: the byte after its end is NUL. Every loop below stops at a byte under 0x20 that is
 * not the blank it is looking for, so none can run past that NUL, whatever the input holds; what reads eight bytes at
 * a time stays before a record's end. `make fuzz-native` holds it to that.
 * Compile with -ffp-contract=off: a fused multiply-add would round epochs differently from every other engine.
 */
#include <stdint.h>
#include <string.h>

enum kind { OTHER, INTEGER, TEXT, TEXT_TRIMMED, EPOCH };

static const double POWERS[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};

static int blank(uint8_t c) { return c == ' ' || c == '\t' || c == '\r'; }

static int digit(uint8_t c) { return c >= '0' && c <= '9'; }

static const uint8_t *skip(const uint8_t *p) {
    while (blank(*p)) p++;
    return p;
}

/* To the end of a string's plain characters: a quote, an escape, a control character or the final NUL. */
static const uint8_t *plain(const uint8_t *p) {
    while (*p != '"' && *p != '\\' && *p >= 0x20) p++;
    return p;
}

#define EACH(byte) (0x0101010101010101ull * (byte))

/* Whether eight bytes hold a quote, a backslash, a control character or a byte of a multi-byte character. */
static uint64_t special(uint64_t w) {
    uint64_t quote = w ^ EACH('"'), escape = w ^ EACH('\\');
    return (w | (quote - EACH(1)) | (escape - EACH(1)) | (w - EACH(0x20))) & EACH(0x80);
}

/* Bytes of the UTF-8 character at p, which is not ASCII; 0 if it is not UTF-8. */
static int character(const uint8_t *p) {
    uint8_t low = 0x80, high = 0xBF;
    int more = *p >= 0xC2 && *p <= 0xDF ? 1 : (*p & 0xF0) == 0xE0 ? 2 : *p >= 0xF0 && *p <= 0xF4 ? 3 : 0;
    if (*p == 0xE0) low = 0xA0;
    if (*p == 0xED) high = 0x9F;
    if (*p == 0xF0) low = 0x90;
    if (*p == 0xF4) high = 0x8F;
    if (!more || p[1] < low || p[1] > high) return 0;
    for (int i = 2; i <= more; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    return more + 1;
}

/* Four hexadecimal digits; -1 if they are not. */
static int32_t hexadecimal(const uint8_t *p) {
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = p[i] | 0x20;
        if (digit(p[i])) value = value * 16 + (p[i] - '0');
        else if (c >= 'a' && c <= 'f') value = value * 16 + (c - 'a' + 10);
        else return -1;
    }
    return value;
}

/* The code point of the escape at *p, a backslash, and moves *p behind it; -1 if it is not one, a lone surrogate or NUL. */
static int32_t escape(const uint8_t **p) {
    static const char LETTERS[] = "\"\\/bfnrt", MEANT[] = "\"\\/\b\f\n\r\t";
    const uint8_t *at = *p + 1;
    if (*at != 'u') {
        const char *letter = *at ? strchr(LETTERS, *at) : NULL;
        *p = at + 1;
        return letter ? MEANT[letter - LETTERS] : -1;
    }
    int32_t point = hexadecimal(at + 1);
    *p = at + 5;
    if (point <= 0 || (point & 0xFC00) == 0xDC00) return -1;
    if ((point & 0xFC00) != 0xD800) return point;
    if (at[5] != '\\' || at[6] != 'u') return -1;
    int32_t low = hexadecimal(at + 7);
    *p = at + 11;
    return (low & 0xFC00) == 0xDC00 ? 0x10000 + ((point & 0x3FF) << 10) + (low & 0x3FF) : -1;
}

static int utf8_bytes(int32_t point) { return point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4; }

/* What a string holds between its quotes. */
struct text {
    const uint8_t *from, *until;
    int64_t length, points; /* after unescaping: bytes and code points */
    int escaped;
};

/* Reads the string whose first character is at p; returns its closing quote, or NULL if it is not for here: not UTF-8,
 * a bad escape, or blank at an end by an escape. A blank string is empty; blanks at the ends go if `trim`. */
static const uint8_t *string(const uint8_t *p, const uint8_t *end, int trim, struct text *text) {
    int64_t fewer_bytes = 0, fewer_points = 0;
    const uint8_t *begin = p, *blank_until = NULL;
    while (*p == ' ') p++;
    const uint8_t *first = p;
    text->escaped = 0;
    for (;;) {
        uint64_t w;
        for (; end - p >= 8; p += 8) {
            memcpy(&w, p, 8);
            if (special(w)) break;
        }
        while (*p != '"' && *p != '\\' && *p >= 0x20 && *p < 0x80) p++;
        if (*p == '"') break;
        if (*p >= 0x80) {
            int bytes = character(p);
            if (!bytes) return NULL;
            fewer_points += bytes - 1;
            p += bytes;
        } else if (*p == '\\') {
            const uint8_t *from = p;
            int32_t point = escape(&p);
            if (point < 0) return NULL;
            if (point == ' ' || (point >= '\t' && point <= '\r')) {
                if (from == first) return NULL;
                blank_until = p;
            }
            fewer_bytes += p - from - utf8_bytes(point);
            fewer_points += p - from - 1;
            text->escaped = 1;
        } else {
            return NULL;
        }
    }
    const uint8_t *until = p;
    while (until > first && until[-1] == ' ') until--;
    if (until == blank_until) return NULL;
    text->from = trim || first == until ? first : begin;
    text->until = trim || first == until ? until : p;
    text->length = text->until - text->from - fewer_bytes;
    text->points = text->until - text->from - fewer_points;
    return p;
}

static int two(const uint8_t *p) { return digit(p[0]) && digit(p[1]) ? (p[0] - '0') * 10 + (p[1] - '0') : -1; }

/* Epoch milliseconds of an ISO 8601 time with offset between p and end; -1 if it is none, or before 1970. */
static int64_t iso_ms(const uint8_t *p, const uint8_t *end) {
    static const uint8_t DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (end - p < 17) return -1;
    int century = two(p), year = two(p + 2), month = two(p + 5), day = two(p + 8), hour = two(p + 11),
        minute = two(p + 14), second = 0, ms = 0;
    if (century < 0 || year < 0 || p[4] != '-' || p[7] != '-' || (p[10] != 'T' && p[10] != 't' && p[10] != ' ') || p[13] != ':') return -1;
    year += century * 100;
    int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > DAYS[month - 1] + (leap && month == 2)) return -1;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59) return -1;
    p += 16;
    if (*p == ':') {
        second = two(p + 1);
        if (second < 0 || second > 59) return -1;
        p += 3;
        if (*p == '.' || *p == ',') {
            const uint8_t *from = ++p;
            for (int unit = 100; digit(*p); unit /= 10) ms += unit * (*p++ - '0');
            if (p == from || p - from > 9) return -1;
        }
    }
    int64_t offset = 0;
    if (*p == 'Z' || *p == 'z') {
        p++;
    } else {
        int sign = *p == '+' ? 1 : *p == '-' ? -1 : 0, hours = sign ? two(p + 1) : -1, minutes = 0;
        if (hours < 0 || hours > 23) return -1;
        p += 3;
        if (p < end) {
            p += *p == ':';
            minutes = two(p);
            if (minutes < 0 || minutes > 59) return -1;
            p += 2;
        }
        offset = sign * (hours * 60 + minutes);
    }
    if (p != end) return -1;
    /* Days of the civil calendar, with March as the first month, so that the leap day is the last of its year. */
    int64_t y = month > 2 ? year : year - 1, m = (month + 9) % 12;
    int64_t days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
    return (((days * 24 + hour) * 60 + minute - offset) * 60 + second) * 1000 + ms;
}

/* Lines of data[start:size], which is empty or ends with LF. Writes start, end (without LF or CRLF) and number of each line that is
 * not blank; returns how many, and through `lines` how many lines there are in all. */
int64_t swp_frame(const uint8_t *data, int64_t start, int64_t size, int64_t first_number, int64_t *starts, int64_t *ends,
                  int64_t *numbers, int64_t *lines) {
    int64_t count = 0, number = first_number;
    const uint8_t *p = data + start, *stop = data + size;
    while (p < stop) {
        const uint8_t *lf = memchr(p, '\n', (size_t)(stop - p));
        const uint8_t *end = lf > p && lf[-1] == '\r' ? lf - 1 : lf;
        const uint8_t *text = p;
        while (text < end && blank(*text)) text++;
        if (text < end) {
            starts[count] = p - data;
            ends[count] = end - data;
            numbers[count++] = number;
        }
        number++;
        p = lf + 1;
    }
    *lines = number - first_number;
    return count;
}

/* Where framing of arrays stands: indexes of `state`, which is zeros at first. */
enum { AT, ELEMENT, DEPTH, QUOTED, LAST, FILLED, COUNTED, LINE, STOPPED };
enum { NOWHERE, AFTER_ARRAY, MISPLACED };

/* Elements of arrays that stand one behind the other, in data[state[AT]:size]; a block goes on where the one before it ended, with
 * AT and ELEMENT set to 0. Writes start and end, without blanks around it, of each element that ends here (one that began earlier
 * starts at ELEMENT) and returns how many, at most `room`. Stops before a byte that follows an array and begins no other, and before
 * a bracket that begins a line where JSON has none: inside a text, or behind a value without a comma. With LINE set to 0 it goes on. */
int64_t swp_elements(const uint8_t *data, int64_t size, int64_t room, int64_t *state, int64_t *starts, int64_t *ends) {
    int64_t at = state[AT], element = state[ELEMENT], depth = state[DEPTH], quoted = state[QUOTED], last = state[LAST];
    int64_t filled = state[FILLED], counted = state[COUNTED], line = state[LINE], stopped = NOWHERE, count = 0;
    for (; at < size; at++) {
        uint8_t c = data[at];
        int white = blank(c) || c == '\n';
        if (!depth) {
            if (white) continue;
            if (c != '[') {
                stopped = AFTER_ARRAY;
                break;
            }
            depth = 1, element = at + 1, last = c, quoted = filled = counted = line = 0;
            continue;
        }
        if (line && (c == '{' || c == '[') && (quoted || (last != '[' && last != ',' && last != ':'))) {
            stopped = MISPLACED;
            break;
        }
        line = c == '\n';
        if (quoted) {
            quoted = quoted == 2 || (c != '"' && c != '\\') ? 1 : c == '"' ? 0 : 2;
        } else if (depth == 1 && (c == ',' || c == ']')) {
            if (c == ',' || filled || counted) {
                if (count == room) break;
                int64_t start = element, end = at;
                while (start < end && (blank(data[start]) || data[start] == '\n')) start++;
                while (start < end && (blank(data[end - 1]) || data[end - 1] == '\n')) end--;
                starts[count] = start;
                ends[count++] = end;
            }
            element = at + 1, last = c, filled = 0;
            counted = c == ',', depth = c == ',';
        } else if (!white) {
            filled = 1, last = c, quoted = c == '"';
            depth += c == '[' || c == '{';
            depth -= (c == ']' || c == '}') && depth > 1;
        }
    }
    int64_t now[] = {at, element, depth, quoted, last, filled, counted, line, stopped};
    memcpy(state, now, sizeof now);
    return count;
}

static int key_at(const uint8_t *p, int64_t length, const uint8_t *keys, const int64_t *key_ends, int width, int guess) {
    for (int step = 0; step < width; step++) {
        int k = guess + step < width ? guess + step : guess + step - width;
        int64_t begin = k ? key_ends[k - 1] : 0;
        if (key_ends[k] - begin == length && !memcmp(p, keys + begin, (size_t)length)) return k;
    }
    return -1;
}

/* What stood between two values of an earlier record: blanks, a comma or brace, the key of field k, a colon. */
struct lead {
    const uint8_t *text;
    int64_t length;
    int k;
};

/* Whether the next bytes, before `end`, are those of `lead`. Eight at a time, the last eight maybe twice. */
static int same(const uint8_t *p, const uint8_t *end, const struct lead *lead) {
    int64_t n = lead->length, i = 0;
    uint64_t a, b;
    if (n < 8 || end - p < n) return 0;
    for (; i < n - 8; i += 8) {
        memcpy(&a, p + i, 8);
        memcpy(&b, lead->text + i, 8);
        if (a != b) return 0;
    }
    memcpy(&a, p + n - 8, 8);
    memcpy(&b, lead->text + n - 8, 8);
    return a == b;
}

/* Fills values[k * count + s] and lengths[k * count + s] for the s-th sure record and field k, its number, and the
 * indexes of unsure records; returns how many are sure. With `in_place` s is the record's index among all. A text's value
 * is its position in `data` (the complement of it if there are escapes in it) and its length the bytes it has without
 * escapes; other lengths are 0, or -1 for null.
 * `lowest` and `highest` bound whole numbers, and the code points of texts; bit k of `required` says that field k must
 * have a value. */
int64_t swp_scan(const uint8_t *data, const int64_t *starts, const int64_t *ends, const int64_t *record_numbers,
                 int64_t count, const uint8_t *keys, const int64_t *key_ends, const uint8_t *kinds,
                 const int64_t *lowest, const int64_t *highest, uint64_t required, int width, int64_t earliest_ms,
                 int64_t latest_ms, double ms_above,
                 int in_place, int64_t *values, int32_t *lengths, int64_t *numbers, int64_t *unsure) {
    int64_t sure = 0;
    const uint64_t all = width == 64 ? ~0ull : (1ull << width) - 1;
    /* Records of one source look alike: what was read before the value of its n-th field once need not be read again. */
    struct lead leads[64];
    int known = 0;
    for (int64_t r = 0; r < count; r++) {
        const uint8_t *end = data + ends[r], *p = data + starts[r];
        uint64_t seen = 0;
        int k = -1, ok = 0;
        for (int step = 0;; step++) {
            const uint8_t *begin;
            if (step < known && same(p, end, &leads[step])) {
                k = leads[step].k;
                /* A lead of a record that ended at its colon lacks the blank that others have there. */
                p = skip(p + leads[step].length);
            } else {
                const uint8_t *from = p;
                p = skip(p);
                if (step && *p == '}') break;
                if (*p != (step ? ',' : '{')) goto done;
                p = skip(p + 1);
                if (*p != '"') goto done;
                begin = ++p;
                p = plain(p);
                if (*p != '"') goto done;
                k = key_at(begin, p - begin, keys, key_ends, width, k + 1 < width ? k + 1 : 0);
                if (k < 0 || step >= width) goto done;
                p = skip(p + 1);
                if (*p++ != ':') goto done;
                p = skip(p);
                leads[step] = (struct lead){from, p - from, k};
                if (step == known) known++;
            }
            if ((seen >> k) & 1) goto done;
            seen |= 1ull << k;
            int64_t at = k * count + (in_place ? r : sure);
            values[at] = 0;
            lengths[at] = -1;
            if (*p == 'n') {
                if (p[1] != 'u' || p[2] != 'l' || p[3] != 'l' || (required >> k) & 1) goto done;
                p += 4;
            } else if (*p == '"') {
                struct text text;
                if (kinds[k] == OTHER || kinds[k] == INTEGER) goto done;
                p = string(p + 1, end, kinds[k] != TEXT, &text);
                if (!p) goto done;
                p++;
                if (text.from == text.until) {
                    if ((required >> k) & 1) goto done;
                    continue;
                }
                if (kinds[k] == EPOCH) {
                    values[at] = text.escaped ? -1 : iso_ms(text.from, text.until);
                    lengths[at] = 0;
                    if (values[at] < earliest_ms || values[at] > latest_ms) goto done;
                    continue;
                }
                if (text.points < lowest[k] || text.points > highest[k]) goto done;
                values[at] = text.escaped ? ~(text.from - data) : text.from - data;
                lengths[at] = (int32_t)text.length;
            } else if (kinds[k] == INTEGER || kinds[k] == EPOCH) {
                int negative = *p == '-';
                int64_t number = 0;
                begin = p += negative;
                while (digit(*p) && p - begin < 18) number = number * 10 + (*p++ - '0');
                int64_t digits = p - begin;
                if (!digits || (*begin == '0' && (digits > 1 || negative))) goto done;
                if (kinds[k] == INTEGER) {
                    number = negative ? -number : number;
                    if (number < lowest[k] || number > highest[k]) goto done;
                    values[at] = number;
                } else {
                    int64_t fraction = 0;
                    if (*p == '.') {
                        begin = ++p;
                        while (digit(*p) && digits + (p - begin) < 16) number = number * 10 + (*p++ - '0');
                        fraction = p - begin;
                        if (!fraction) goto done;
                    }
                    /* Up to 15 digits and their power of ten are exact doubles, so one division rounds correctly. */
                    if (negative || digits + fraction > 15) goto done;
                    double time = (double)number / POWERS[fraction];
                    int64_t ms = (int64_t)(time > ms_above ? time + 0.5 : time * 1000 + 0.5);
                    if (ms < earliest_ms || ms > latest_ms) goto done;
                    values[at] = ms;
                }
                lengths[at] = 0;
                /* A number that goes on (an exponent, a fraction of an integer, a 19th digit) fails at the comma or brace. */
            } else {
                goto done;
            }
        }
        for (p++; p < end && blank(*p);) p++;
        ok = p == end && (seen & required) == required;
    done:
        if (!ok) {
            unsure[r - sure] = r;
            continue;
        }
        for (int j = 0; seen != all && j < width; j++) {
            if ((seen >> j) & 1) continue;
            int64_t at = j * count + (in_place ? r : sure);
            values[at] = 0;
            lengths[at] = -1;
        }
        numbers[sure++] = record_numbers[r];
    }
    return sure;
}

static void unescape(const uint8_t *p, uint8_t *to, const uint8_t *until) {
    while (to < until) {
        if (*p != '\\') {
            *to++ = *p++;
            continue;
        }
        int32_t c = escape(&p);
        int bytes = utf8_bytes(c);
        if (bytes == 1) {
            *to++ = (uint8_t)c;
            continue;
        }
        for (int i = bytes - 1; i > 0; i--, c >>= 6) to[i] = (uint8_t)(0x80 | (c & 0x3F));
        *to = (uint8_t)((0xF00 >> bytes) | c);
        to += bytes;
    }
}

/* Writes text r, which begins at data[positions[r]] (or its complement, and then has escapes), to text[offsets[r]]. */
void swp_gather(const uint8_t *data, const int64_t *positions, const int32_t *offsets, int64_t count, uint8_t *text) {
    for (int64_t r = 0; r < count; r++) {
        if (positions[r] >= 0) memcpy(text + offsets[r], data + positions[r], (size_t)(offsets[r + 1] - offsets[r]));
        else unescape(data + ~positions[r], text + offsets[r], text + offsets[r + 1]);
    }
}
