/* The C client of Optim Service; optim.h says what its functions promise. Text, JSON, tensors, tries, calls: each part
 * knows only those above it. */
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE

#include "optim.h"

#include <curl/curl.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define PREFIX "optim-c-"
#define SAFETENSORS "application/vnd.safetensors"
#define JSON "application/json"
#define MOST_SHOWN 65536 /* bytes of warnings that are kept, to say each once */

/* ---- Text that grows. A failure of memory is kept, and asked for once at the end. ---- */

typedef struct {
    char *data;
    size_t size, room;
    bool failed;
} text;

static bool reserve(text *t, size_t more) {
    if (t->failed || more >= SIZE_MAX / 4 - t->size) return t->failed = true, false;
    if (t->size + more + 1 > t->room) {
        size_t needed = t->size + more + 1, room = needed > t->room * 3 / 2 ? needed : t->room * 3 / 2;
        char *data = realloc(t->data, room);
        if (!data) return t->failed = true, false;
        t->data = data, t->room = room;
    }
    return true;
}

static void append(text *t, const void *bytes, size_t size) {
    if (!reserve(t, size)) return;
    if (size) memcpy(t->data + t->size, bytes, size);
    t->size += size;
    t->data[t->size] = 0;
}

static void add(text *t, const char *words) { append(t, words, strlen(words)); }

static void clear(text *t) { t->size = 0, t->failed = false, add(t, ""); }

static void print(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void print(text *t, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    if (size >= 0 && reserve(t, (size_t)size)) {
        vsnprintf(t->data + t->size, (size_t)size + 1, format, again);
        t->size += (size_t)size;
    }
    va_end(again);
    va_end(arguments);
}

static void copy(char *to, const char *from) { snprintf(to, OPTIM_MAX_NAME, "%s", from); }

/* ---- JSON, as far as answers need it: a value is a span of text. ---- */

typedef struct {
    const char *at, *end;
} span;

enum { DEEPEST = 64 };

static const char *blank(const char *p, const char *end) {
    while (p < end && strchr(" \t\r\n", *p) && *p) p++;
    return p;
}

static const char *after_string(const char *p, const char *end) {
    for (p++; p < end && *p != '"'; p++)
        if ((unsigned char)*p < 0x20 || (*p == '\\' && ++p == end)) return NULL;
    return p < end ? p + 1 : NULL;
}

/* Returns the end of the value that begins at p, or NULL. It checks the structure, and leaves numbers to their reader. */
static const char *after_value(const char *p, const char *end, int depth) {
    if (p >= end || depth > DEEPEST) return NULL;
    if (*p == '"') return after_string(p, end);
    if (*p != '{' && *p != '[') {
        const char *start = p;
        while (p < end && *p && strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE", *p)) p++;
        return p > start ? p : NULL;
    }
    bool object = *p == '{';
    char close = object ? '}' : ']';
    p = blank(p + 1, end);
    if (p < end && *p == close) return p + 1;
    while (p && p < end) {
        if (object) {
            if (*p != '"' || !(p = after_string(p, end))) return NULL;
            p = blank(p, end);
            if (p >= end || *p++ != ':') return NULL;
            p = blank(p, end);
        }
        if (!(p = after_value(p, end, depth + 1))) return NULL;
        p = blank(p, end);
        if (p >= end) return NULL;
        if (*p == close) return p + 1;
        if (*p++ != ',') return NULL;
        p = blank(p, end);
    }
    return NULL;
}

/* Returns the whole of a text as a value; `at` is NULL if it is none. */
static span whole(const char *p, size_t size) {
    span none = {NULL, NULL};
    const char *end = p + size, *start = blank(p, end), *stop = after_value(start, end, 0);
    if (!stop || blank(stop, end) != end) return none;
    return (span){start, stop};
}

/* Steps through the members of an object, or the elements of an array. Begin with a cursor of NULL. */
static bool next(span in, const char **cursor, span *name, span *value) {
    const char *p = blank(*cursor ? *cursor : in.at + 1, in.end);
    if (*p == ',') p = blank(p + 1, in.end);
    if (*p == '}' || *p == ']') return false;
    if (*in.at == '{') {
        name->at = p;
        name->end = after_string(p, in.end);
        p = blank(blank(name->end, in.end) + 1, in.end);
    }
    value->at = p;
    value->end = *cursor = after_value(p, in.end, 0);
    return true;
}

static void utf8(text *t, unsigned code) {
    char bytes[4] = {(char)code};
    size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; code >>= 6) bytes[i] = (char)(0x80 | (code & 0x3f));
    if (n > 1) bytes[0] = (char)((0xf00 >> n) | code);
    append(t, bytes, n);
}

static bool hex4(const char *p, const char *end, unsigned *code) {
    if (end - p < 4) return false;
    *code = 0;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef", *found = strchr(digits, *p | 0x20);
        if (!*p || !found) return false;
        *code = *code * 16 + (unsigned)(found - digits);
        p++;
    }
    return true;
}

/* Appends the characters of a string and a NUL, and returns whether it is a string without NUL. */
static bool string_of(span s, text *t) {
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    if (!s.at || *s.at != '"') return false;
    for (const char *p = s.at + 1, *end = s.end - 1; p < end; p++) {
        const char *letter;
        unsigned code, low;
        if (*p != '\\') {
            append(t, p, 1);
        } else if ((letter = strchr(letters, *++p)) && *p) {
            append(t, meant + (letter - letters), 1);
        } else {
            if (*p != 'u' || !hex4(p + 1, end, &code) || !code) return false;
            p += 4;
            bool high = code >= 0xd800 && code < 0xdc00 && end - p > 6 && p[1] == '\\' && p[2] == 'u';
            if (high && hex4(p + 3, end, &low) && low >= 0xdc00 && low < 0xe000) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                p += 6;
            }
            utf8(t, code >= 0xd800 && code < 0xe000 ? 0xfffd : code); /* half a surrogate pair has no UTF-8 */
        }
    }
    append(t, "", 1);
    return !t->failed;
}

static bool is(span s, const char *name) {
    text t = {0};
    bool same = string_of(s, &t) && !strcmp(t.data, name);
    free(t.data);
    return same;
}

/* Returns a member of an object; `at` is NULL if it is not there. */
static span member(span object, const char *wanted) {
    const char *cursor = NULL;
    span name, value, none = {NULL, NULL};
    if (!object.at || *object.at != '{') return none;
    while (next(object, &cursor, &name, &value))
        if (is(name, wanted)) return value;
    return none;
}

/* Changes the decimal point of a number: strtod and printf use that of the program's locale, perhaps a comma. */
static void repoint(char *digits, char from, char to) {
    if ((digits = strchr(digits, from))) *digits = to;
}

static char point(void) { return *localeconv()->decimal_point; }

/* Returns a number, also "NaN", "Infinity" and "-Infinity"; NAN if it is none. */
static double number_of(span s) {
    char digits[64];
    if (s.at && *s.at == '"') s.at++, s.end--;
    if (!s.at || s.end - s.at >= (long)sizeof digits) return NAN;
    memcpy(digits, s.at, (size_t)(s.end - s.at));
    digits[s.end - s.at] = 0;
    repoint(digits, '.', point());
    char *end;
    double number = strtod(digits, &end);
    return *end || end == digits ? NAN : number;
}

/* Reads a whole number of digits alone, below 10^18. */
static bool count_of(span s, size_t *count) {
    uint64_t number = 0;
    if (!s.at || s.at == s.end || s.end - s.at > 18) return false;
    for (const char *p = s.at; p < s.end; p++) {
        if (*p < '0' || *p > '9') return false;
        number = number * 10 + (uint64_t)(*p - '0');
    }
    *count = (size_t)number;
    return *count == number;
}

static void quote(text *t, const char *words) {
    add(t, "\"");
    for (; *words; words++) {
        if (*words == '"' || *words == '\\') print(t, "\\%c", *words);
        else if ((unsigned char)*words < 0x20) print(t, "\\u%04x", *words);
        else append(t, words, 1);
    }
    add(t, "\"");
}

/* ---- Tensors: safetensors, after the pages of its format. ---- */

static const struct {
    const char *code;
    size_t size;
} DTYPES[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I8", 1}};
enum { DTYPE_COUNT = sizeof DTYPES / sizeof *DTYPES };

static bool bytes_of(const optim_tensor *t, size_t *bytes) {
    if ((unsigned)t->dtype >= DTYPE_COUNT || t->dimensions > OPTIM_MAX_DIMENSIONS) return false;
    size_t product = DTYPES[t->dtype].size;
    bool empty = false;
    for (size_t i = 0; i < t->dimensions; i++) {
        empty = empty || !t->shape[i];
        if (t->shape[i] && product > SIZE_MAX / 4 / t->shape[i]) return false;
        product *= t->shape[i] ? t->shape[i] : 1;
    }
    *bytes = empty ? 0 : product;
    return true;
}

/* Returns whether a tensor can be sent, and its bytes. */
static bool sendable(const optim_tensor *t, size_t *bytes) {
    return t->name && bytes_of(t, bytes) && (t->data || !*bytes);
}

/* A tensor with its kind, such as "params/". */
typedef struct {
    const char *kind;
    const optim_tensor *tensor;
} part;

/* Wide dtypes first, so that every tensor is aligned, then by name: the same bytes for the same step. */
static int in_order(const void *a, const void *b) {
    const part *x = a, *y = b;
    size_t wide = DTYPES[x->tensor->dtype].size, other = DTYPES[y->tensor->dtype].size;
    if (wide != other) return wide < other ? 1 : -1;
    int kinds = strcmp(x->kind, y->kind);
    return kinds ? kinds : strcmp(x->tensor->name, y->tensor->name);
}

/* Sorts the parts, and writes the header of a body that has their data in that order. Returns false for bad tensors. */
static bool header_of(part *parts, size_t count, const text *metadata, text *out) {
    for (size_t i = 0, bytes; i < count; i++)
        if (!sendable(parts[i].tensor, &bytes)) return false;
    if (count) qsort(parts, count, sizeof *parts, in_order);
    append(out, "\0\0\0\0\0\0\0\0", 8);
    print(out, "{\"__metadata__\":{%s}", metadata->data ? metadata->data : "");
    size_t end = 0, bytes = 0;
    for (size_t i = 0; i < count; i++, end += bytes) {
        const optim_tensor *t = parts[i].tensor;
        bytes_of(t, &bytes);
        text name = {0};
        print(&name, "%s%s", parts[i].kind, t->name);
        add(out, ",");
        if (name.data) quote(out, name.data);
        out->failed = out->failed || name.failed;
        free(name.data);
        print(out, ":{\"dtype\":\"%s\",\"shape\":[", DTYPES[t->dtype].code);
        for (size_t d = 0; d < t->dimensions; d++) print(out, "%s%zu", d ? "," : "", t->shape[d]);
        print(out, "],\"data_offsets\":[%zu,%zu]}", end, end + bytes);
    }
    add(out, "}");
    while (out->size % 8 && !out->failed) add(out, " ");
    for (int i = 0; i < 8 && !out->failed; i++) out->data[i] = (char)((uint64_t)(out->size - 8) >> 8 * i);
    return true;
}

static void pair(text *metadata, const char *key, const char *value) {
    if (metadata->size) add(metadata, ",");
    quote(metadata, key);
    add(metadata, ":");
    quote(metadata, value);
}

optim_status optim_encode(const optim_message *message, void **bytes, size_t *size) {
    text metadata = {0}, out = {0};
    part *parts = calloc(message->tensor_count + 1, sizeof *parts);
    for (size_t i = 0; i < message->metadata_count; i++)
        pair(&metadata, message->metadata[2 * i], message->metadata[2 * i + 1]);
    for (size_t i = 0; parts && i < message->tensor_count; i++) parts[i] = (part){"", &message->tensors[i]};
    bool right = parts && header_of(parts, message->tensor_count, &metadata, &out);
    for (size_t i = 0, length; right && i < message->tensor_count; i++) {
        bytes_of(parts[i].tensor, &length);
        append(&out, parts[i].tensor->data, length);
    }
    bool failed = !parts || metadata.failed || out.failed;
    free(parts);
    free(metadata.data);
    if (failed || !right) return free(out.data), failed ? OPTIM_FAILED : OPTIM_BAD_ARGUMENT;
    *bytes = out.data, *size = out.size;
    return OPTIM_OK;
}

static bool read_tensor(span entry, const char *data, size_t size, optim_tensor *t) {
    span dtype = member(entry, "dtype"), shape = member(entry, "shape"), place = member(entry, "data_offsets");
    span name = {0}, value;
    const char *cursor = NULL;
    size_t begin, end, bytes;
    int code = DTYPE_COUNT;
    while (code-- > 0 && !is(dtype, DTYPES[code].code)) {}
    if (code < 0 || !shape.at || *shape.at != '[' || !place.at || *place.at != '[') return false;
    t->dtype = (optim_dtype)code;
    for (t->dimensions = 0; next(shape, &cursor, &name, &value); t->dimensions++)
        if (t->dimensions == OPTIM_MAX_DIMENSIONS || !count_of(value, &t->shape[t->dimensions])) return false;
    cursor = NULL;
    if (!next(place, &cursor, &name, &value) || !count_of(value, &begin)) return false;
    if (!next(place, &cursor, &name, &value) || !count_of(value, &end)) return false;
    if (begin > end || end > size || !bytes_of(t, &bytes) || bytes != end - begin) return false;
    t->data = (void *)(uintptr_t)(data + begin);
    return true;
}

/* Returns whether tensors within `size` bytes fill them: then none is there twice, and nothing is lost. */
static bool is_filled(const optim_message *m, size_t size) {
    size_t bytes = 0;
    for (size_t i = 0; i < m->tensor_count && bytes_of(&m->tensors[i], &bytes); size -= bytes, i++)
        if (bytes > size) return false;
    return !size;
}

/* Reads the members of a header. The strings go into `names`; until that has grown, a name is its place there. */
static bool read_members(span header, const char *data, size_t size, optim_message *m, text *names) {
    const char *cursor = NULL, *inner;
    span name, value, key, said;
    while (next(header, &cursor, &name, &value)) {
        if (!is(name, "__metadata__")) {
            m->tensors[m->tensor_count].name = (const char *)(uintptr_t)names->size;
            if (!read_tensor(value, data, size, &m->tensors[m->tensor_count++]) || !string_of(name, names)) return false;
            continue;
        }
        if (*value.at != '{') return false;
        for (inner = NULL; next(value, &inner, &key, &said); m->metadata_count++)
            for (int i = 0; i < 2; i++) {
                m->metadata[2 * m->metadata_count + (size_t)i] = (const char *)(uintptr_t)names->size;
                if (!string_of(i ? said : key, names)) return false;
            }
    }
    return true;
}

static size_t members_in(span object) {
    const char *cursor = NULL;
    span name, value;
    size_t count = 0;
    while (next(object, &cursor, &name, &value)) count++;
    return count;
}

optim_status optim_decode(const void *bytes, size_t size, optim_message *m) {
    *m = (optim_message){0};
    uint64_t length = 0;
    const unsigned char *start = bytes;
    for (int i = 0; size >= 8 && i < 8; i++) length |= (uint64_t)start[i] << 8 * i;
    if (size < 8 || length > size - 8) return OPTIM_BAD_ANSWER;
    span header = whole((const char *)bytes + 8, (size_t)length), metadata = member(header, "__metadata__");
    if (!header.at || *header.at != '{') return OPTIM_BAD_ANSWER;
    text names = {0};
    size_t pairs = metadata.at && *metadata.at == '{' ? members_in(metadata) : 0;
    m->tensors = calloc(members_in(header) + 1, sizeof *m->tensors);
    m->metadata = calloc(2 * pairs + 1, sizeof *m->metadata);
    size_t data = size - 8 - (size_t)length;
    bool found = m->tensors && m->metadata;
    found = found && read_members(header, (const char *)bytes + size - data, data, m, &names) && is_filled(m, data);
    m->memory = names.data;
    if (!found) return optim_free_message(m), OPTIM_BAD_ANSWER;
    for (size_t i = 0; i < m->tensor_count; i++) m->tensors[i].name = names.data + (uintptr_t)m->tensors[i].name;
    for (size_t i = 0; i < 2 * m->metadata_count; i++) m->metadata[i] = names.data + (uintptr_t)m->metadata[i];
    return OPTIM_OK;
}

void optim_free_message(optim_message *message) {
    free(message->tensors);
    free(message->metadata);
    free(message->memory);
    *message = (optim_message){0};
}

/* ---- Tries: one request over libcurl, and the rules of retries. ---- */

/* What is sent: `head`, then the data of the parts; or the rest of a file. */
typedef struct {
    const char *method, *path, *media_type;
    const char *accept; /* NULL for the form of the body */
    const char *etag; /* for If-Match; NULL for none */
    const char *head;
    size_t head_size;
    const part *parts;
    size_t part_count;
    FILE *file; /* sent if there is a media type, otherwise the answer is written to it */
    curl_off_t size;
    bool minimal;
    char key[OPTIM_MAX_NAME];
} request;

struct optim_client {
    CURL *curl, *inherited; /* the parent's in a forked process, which must not end it */
    text url, authorization, answer, shown;
    double seconds, retries;
    long timeout;
    void (*log)(void *, const char *);
    void *log_context;
    optim_clock clock;
    char name[32];
    unsigned long count;
    pid_t process;
    optim_error error;
    text code, detail, request_id, members;
    const request *sending;
    curl_off_t sent;
};

static double now(void *context) {
    (void)context;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void sleep_for(void *context, double seconds) {
    (void)context;
    struct timespec left = {(time_t)seconds, (long)(fmod(seconds, 1) * 1e9)};
    while (nanosleep(&left, &left)) {}
}

static double chance(void *context) {
    (void)context;
    uint32_t bits = 0;
    if (getentropy(&bits, sizeof bits)) bits = (uint32_t)clock();
    return bits / 4294967296.0;
}

static void log_to_stderr(void *context, const char *line) {
    (void)context;
    fprintf(stderr, "optim: %s\n", line);
}

static void say(optim_client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(optim_client *c, const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    c->log(c->log_context, line);
}

static optim_status fail(optim_client *c, optim_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static optim_status fail(optim_client *c, optim_status status, const char *format, ...) {
    char detail[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    clear(&c->detail), add(&c->detail, detail);
    c->error = (optim_error){0, NULL, c->detail.data ? c->detail.data : "out of memory", NULL, "{}"};
    return status;
}

static optim_status unreadable(optim_client *c, const request *r) {
    return fail(c, OPTIM_BAD_ANSWER, "%s %s%s: the answer cannot be read: does the address lead to the service?",
                r->method, c->url.data, r->path);
}

/* Takes a name of its own, and connections of its own: a forked process leaves those of its parent alone. */
static void own(optim_client *c) {
    uint64_t bits = 0;
    if (getentropy(&bits, sizeof bits)) bits = (uint64_t)time(NULL) << 32 | (uint32_t)getpid();
    snprintf(c->name, sizeof c->name, PREFIX "%016llx", (unsigned long long)bits);
    c->process = getpid();
    c->inherited = c->curl;
    c->curl = curl_easy_init();
}

optim_client *optim_open(const char *url, const char *api_key) {
    optim_client *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    url = url ? url : getenv("OPTIM_BASE_URL");
    api_key = api_key ? api_key : getenv("OPTIM_API_KEY");
    add(&c->url, url ? url : "http://127.0.0.1:8000");
    while (c->url.size && c->url.data[c->url.size - 1] == '/') c->url.data[--c->url.size] = 0;
    if (api_key) print(&c->authorization, "Authorization: Bearer %s", api_key);
    clear(&c->shown);
    optim_set_retries(c, 120, INFINITY);
    optim_set_timeout(c, 60);
    optim_set_log(c, NULL, NULL);
    optim_set_clock(c, NULL);
    own(c);
    fail(c, OPTIM_OK, "no call has failed");
    if (!c->curl || c->url.failed || c->authorization.failed) return optim_close(c), NULL;
    return c;
}

void optim_close(optim_client *c) {
    if (!c) return;
    if (c->process == getpid()) curl_easy_cleanup(c->curl);
    text *owned[] = {&c->url, &c->authorization, &c->answer, &c->shown,
                     &c->code, &c->detail, &c->request_id, &c->members};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]->data);
    free(c);
}

void optim_set_retries(optim_client *c, double seconds, double retries) { c->seconds = seconds, c->retries = retries; }

void optim_set_timeout(optim_client *c, long seconds) { c->timeout = seconds; }

void optim_set_log(optim_client *c, void (*log)(void *, const char *), void *context) {
    c->log = log ? log : log_to_stderr, c->log_context = context;
}

void optim_set_clock(optim_client *c, const optim_clock *clock) {
    c->clock = clock ? *clock : (optim_clock){now, sleep_for, chance, NULL};
}

const optim_error *optim_last_error(const optim_client *c) { return &c->error; }

/* Copies what comes next of the body: of the head, of the parts after it, or of the file. */
static size_t send_more(char *to, size_t one, size_t size, void *client) {
    optim_client *c = client;
    const request *r = c->sending;
    size_t given = 0, at = (size_t)c->sent, length;
    (void)one;
    if (r->file) return fread(to, 1, size, r->file);
    for (size_t i = 0; i <= r->part_count && given < size; i++) {
        const char *data = i ? r->parts[i - 1].tensor->data : r->head;
        if (i) bytes_of(r->parts[i - 1].tensor, &length);
        else length = r->head_size;
        if (at >= length) {
            at -= length;
            continue;
        }
        size_t taken = length - at < size - given ? length - at : size - given;
        memcpy(to + given, data + at, taken);
        given += taken, at = 0;
    }
    c->sent += (curl_off_t)given;
    return given;
}

static int send_again(void *client, curl_off_t offset, int origin) {
    optim_client *c = client;
    if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
    c->sent = offset;
    return c->sending->file && fseeko(c->sending->file, (off_t)offset, SEEK_SET) ? CURL_SEEKFUNC_FAIL : CURL_SEEKFUNC_OK;
}

static long status_of(optim_client *c) {
    long status = 0;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

static size_t receive(char *data, size_t one, size_t size, void *client) {
    optim_client *c = client;
    curl_off_t length = -1;
    (void)one;
    bool success = status_of(c) / 100 == 2;
    if (success && c->sending->file && !c->sending->media_type) return fwrite(data, 1, size, c->sending->file);
    if (!c->answer.size && !curl_easy_getinfo(c->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length) && length > 0)
        reserve(&c->answer, (size_t)length);
    append(&c->answer, data, size);
    return c->answer.failed ? 0 : size;
}

static const char *header(optim_client *c, const char *name) {
    struct curl_header *found;
    return curl_easy_header(c->curl, name, 0, CURLH_HEADER, -1, &found) == CURLHE_OK ? found->value : NULL;
}

static void list(struct curl_slist **lines, const char *format, const char *value) {
    char line[OPTIM_MAX_NAME + 64];
    snprintf(line, sizeof line, format, value);
    struct curl_slist *longer = curl_slist_append(*lines, line);
    if (longer) *lines = longer;
}

static struct curl_slist *headers_of(optim_client *c, const request *r, const char *id) {
    struct curl_slist *lines = c->authorization.size ? curl_slist_append(NULL, c->authorization.data) : NULL;
    list(&lines, "X-Request-ID: %s", id);
    list(&lines, "Expect:", "");
    if (r->media_type) list(&lines, "Content-Type: %s", r->media_type);
    if (r->accept) list(&lines, "Accept: %s", r->accept);
    if (*r->key) list(&lines, "Idempotency-Key: \"%s\"", r->key);
    if (r->etag && *r->etag == '"') list(&lines, "If-Match: %s", r->etag);
    if (r->minimal) list(&lines, "Prefer: return=minimal", "");
    return lines;
}

/* Makes one try. An answer to another request is none, and closes the connection. */
static CURLcode exchange(optim_client *c, const request *r) {
    char id[OPTIM_MAX_NAME], url[4096];
    snprintf(id, sizeof id, "%s-%lu", c->name, ++c->count);
    if ((size_t)snprintf(url, sizeof url, "%s%s", c->url.data, r->path) >= sizeof url) return CURLE_URL_MALFORMAT;
    curl_easy_reset(c->curl);
    clear(&c->answer);
    struct curl_slist *lines = headers_of(c, r, id);
    c->sending = r, c->sent = 0;
    if (r->file && (fseeko(r->file, 0, SEEK_SET) || (!r->media_type && ftruncate(fileno(r->file), 0))))
        return curl_slist_free_all(lines), CURLE_READ_ERROR;
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, lines);
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT, 5L);
    curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_TIME, c->timeout);
    curl_easy_setopt(c->curl, CURLOPT_BUFFERSIZE, 512L << 10);
    curl_easy_setopt(c->curl, CURLOPT_UPLOAD_BUFFERSIZE, 2L << 20);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    if (r->media_type) {
        curl_easy_setopt(c->curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(c->curl, CURLOPT_READFUNCTION, send_more);
        curl_easy_setopt(c->curl, CURLOPT_READDATA, c);
        curl_easy_setopt(c->curl, CURLOPT_SEEKFUNCTION, send_again);
        curl_easy_setopt(c->curl, CURLOPT_SEEKDATA, c);
        curl_easy_setopt(c->curl, CURLOPT_INFILESIZE_LARGE, r->size);
    }
    curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, r->method);
    CURLcode result = curl_easy_perform(c->curl);
    curl_slist_free_all(lines);
    const char *echo = result ? NULL : header(c, "X-Request-ID");
    if (!echo || strncmp(echo, PREFIX, strlen(PREFIX)) || !strcmp(echo, id)) return result;
    curl_easy_cleanup(c->curl);
    return (c->curl = curl_easy_init()) ? CURLE_WEIRD_SERVER_REPLY : CURLE_OUT_OF_MEMORY;
}

/* Returns whether a page for people came, as from a portal to log in. */
static bool is_page(optim_client *c) {
    const char *type = header(c, "Content-Type");
    return type && !strncasecmp(type, "text/html", 9);
}

static optim_status outcome_of(CURLcode result) {
    switch (result) {
    case CURLE_OK: return OPTIM_REFUSED;
    case CURLE_URL_MALFORMAT: return OPTIM_BAD_ARGUMENT;
    case CURLE_OUT_OF_MEMORY:
    case CURLE_READ_ERROR:
    case CURLE_WRITE_ERROR: return OPTIM_FAILED;
    default: return OPTIM_NO_ANSWER;
    }
}

/* Waiting mends neither what is wrong here nor a certificate that is not trusted. */
static bool is_final(CURLcode result) {
    bool untrusted = result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_ISSUER_ERROR;
    bool unusable = result == CURLE_SSL_CACERT_BADFILE || result == CURLE_SSL_CERTPROBLEM;
    return untrusted || unusable || outcome_of(result) != OPTIM_NO_ANSWER;
}

/* Returns `Retry-After` in seconds, or -1. A date counts from the answer's own date. */
static double retry_after(optim_client *c) {
    char said[64];
    const char *value = header(c, "Retry-After");
    if (value && *value && strspn(value, "0123456789") == strlen(value)) return strtod(value, NULL);
    if (!value || strlen(value) >= sizeof said) return -1;
    strcpy(said, value); /* the next look-up may move the value */
    const char *date = header(c, "Date");
    size_t length = strlen(said);
    if (!date || length < 4 || strcmp(said + length - 4, " GMT")) return -1;
    time_t then = curl_getdate(said, NULL), answered = curl_getdate(date, NULL);
    return then == -1 || answered == -1 ? -1 : fmax(0, difftime(then, answered));
}

static bool may_retry(optim_client *c, long status) {
    const char *said = header(c, "X-Should-Retry");
    if (said && !strcmp(said, "true")) return true;
    if (said && !strcmp(said, "false")) return false;
    if (status == 409) return c->error.code && !strcmp(c->error.code, "session_busy");
    return status == 408 || status == 429 || (status >= 500 && status != 501 && status != 505);
}

/* Keeps a refusal as the client's error. */
static void refused(optim_client *c, long status) {
    span problem = whole(c->answer.data, c->answer.size), name, value;
    const char *cursor = NULL, *id = header(c, "X-Request-ID"), *location = header(c, "Location");
    static const char *const standard[] = {"type", "title", "status", "detail", "code"};
    clear(&c->code), clear(&c->detail), clear(&c->request_id), clear(&c->members);
    bool coded = string_of(member(problem, "code"), &c->code);
    if (id) add(&c->request_id, id);
    if (!string_of(member(problem, "detail"), &c->detail) || !*c->detail.data) {
        clear(&c->detail);
        print(&c->detail, "something else than the service answered with status %ld%s%s", status,
              location ? ", a redirect, which a client does not follow, to " : "", location ? location : "");
    }
    add(&c->members, "{");
    while (problem.at && *problem.at == '{' && next(problem, &cursor, &name, &value)) {
        size_t i = 0;
        while (i < 5 && !is(name, standard[i])) i++;
        if (i < 5) continue;
        if (c->members.size > 1) add(&c->members, ",");
        append(&c->members, name.at, (size_t)(name.end - name.at));
        add(&c->members, ":");
        append(&c->members, value.at, (size_t)(value.end - value.at));
    }
    add(&c->members, "}");
    const char *code = coded ? c->code.data : NULL;
    c->error = (optim_error){status, code, c->detail.data, id ? c->request_id.data : NULL, c->members.data};
}

/* Returns the seconds until the next try, or -1 for none. The last try is when the time is over. */
static double pause_after(optim_client *c, CURLcode result, long status, unsigned tries, double failed) {
    double left = c->seconds - (c->clock.now(c->clock.context) - failed);
    if (left <= 0 || tries > c->retries || (result ? is_final(result) : !may_retry(c, status))) return -1;
    double wait = fmin(0.5 * pow(2, tries - 1), 4) * (1 - 0.5 * c->clock.chance(c->clock.context));
    double asked = result ? -1 : retry_after(c);
    if (asked < 0) return fmin(wait, left);
    if (asked > (isinf(left) ? 120 : left)) return -1;
    return tries == 1 ? asked : fmin(fmax(asked, wait), left);
}

/* Makes a call, with every try that it needs. */
static optim_status perform(optim_client *c, request *r) {
    double failed = 0;
    if (c->process != getpid()) own(c);
    if (!c->curl) return fail(c, OPTIM_FAILED, "out of memory");
    if (strncasecmp(c->url.data, "http://", 7) && strncasecmp(c->url.data, "https://", 8))
        return fail(c, OPTIM_BAD_ARGUMENT, "the address %.200s must begin with http:// or https://", c->url.data);
    if (c->authorization.size && strpbrk(c->authorization.data, "\r\n"))
        return fail(c, OPTIM_BAD_ARGUMENT, "the API key has a line break");
    if (strcmp(r->method, "GET") && !*r->key) snprintf(r->key, sizeof r->key, "%s-key-%lu", c->name, ++c->count);
    for (unsigned tries = 1;; tries++) {
        CURLcode result = exchange(c, r);
        long status = result ? 0 : status_of(c);
        if (status / 100 == 2 || (status == 404 && tries > 1 && !strcmp(r->method, "DELETE"))) {
            if (tries > 1) say(c, "%s %s: answered at try %u", r->method, r->path, tries);
            return is_page(c) ? unreadable(c, r) : OPTIM_OK;
        }
        if (result == CURLE_WEIRD_SERVER_REPLY)
            fail(c, OPTIM_OK, "%s %s%s: the answer was to another request", r->method, c->url.data, r->path);
        else if (result)
            fail(c, OPTIM_OK, "%s %s%s: no answer (%s)", r->method, c->url.data, r->path, curl_easy_strerror(result));
        else
            refused(c, status);
        if (tries == 1) failed = c->clock.now(c->clock.context);
        double pause = pause_after(c, result, status, tries, failed);
        if (pause < 0) return outcome_of(result);
        if (tries == 1) say(c, "%s %s: %s; trying again", r->method, r->path, c->error.detail);
        c->clock.sleep(c->clock.context, pause);
    }
}

/* ---- Calls. ---- */

static void show_warnings(optim_client *c, span warnings) {
    const char *cursor = NULL;
    span name = {0}, line;
    while (warnings.at && *warnings.at == '[' && next(warnings, &cursor, &name, &line)) {
        text t = {0};
        if (string_of(line, &t)) {
            text quoted = {0};
            print(&quoted, "\n%s\n", t.data);
            if (quoted.data && c->shown.size < MOST_SHOWN && !strstr(c->shown.data, quoted.data)) {
                say(c, "%s", t.data);
                add(&c->shown, quoted.data);
            }
            free(quoted.data);
        }
        free(t.data);
    }
}

static bool copied(span s, char *to) {
    text t = {0};
    bool found = string_of(s, &t) && strlen(t.data) < OPTIM_MAX_NAME;
    if (found) copy(to, t.data);
    free(t.data);
    return found;
}

/* Keeps the answer's ETag, for the session's next change. */
static void keep_etag(optim_session *s) {
    const char *etag = header(s->client, "ETag");
    copy(s->etag, etag ? etag : "");
}

/* Reads the session that was answered. */
static optim_status read_session(optim_client *c, const request *r, optim_session *s) {
    span document = whole(c->answer.data, c->answer.size);
    size_t step;
    optim_session found = {.client = c, .skipped = s->skipped, .metrics = s->metrics};
    if (!copied(member(document, "id"), found.id) || !copied(member(document, "digest"), found.digest))
        return unreadable(c, r);
    if (!count_of(member(document, "step"), &step)) return unreadable(c, r);
    span held = member(document, "hold_params");
    found.hold_params = held.at && *held.at == 't';
    found.step = (int64_t)step;
    keep_etag(&found);
    show_warnings(c, member(document, "warnings"));
    *s = found;
    return OPTIM_OK;
}

/* Makes a call with a JSON body, or none, that answers a session. */
static optim_status session_call(optim_client *c, const char *method, const char *path, const char *body,
                                 const char *etag, optim_session *s) {
    size_t size = body ? strlen(body) : 0;
    request r = {.method = method, .path = path, .media_type = body ? JSON : NULL, .etag = etag,
                 .head = body, .head_size = size, .size = (curl_off_t)size};
    if (body && !whole(body, size).at) return fail(c, OPTIM_BAD_ARGUMENT, "this is no JSON: %.200s", body);
    optim_status status = perform(c, &r);
    return status ? status : read_session(c, &r, s);
}

/* The same for a session that is only written to. */
static optim_status new_session(optim_client *c, const char *method, const char *path, const char *body,
                                const char *etag, optim_session *s) {
    optim_session fresh = {0};
    optim_status status = session_call(c, method, path, body, etag, &fresh);
    if (!status) *s = fresh;
    return status;
}

typedef char path_text[2 * OPTIM_MAX_NAME];

static const char *path_of(const char *id, const char *below, path_text path) {
    snprintf(path, sizeof(path_text), "/v1/sessions/%s%s", id, below);
    return path;
}

optim_status optim_create(optim_client *c, const char *settings, optim_session *s) {
    return new_session(c, "POST", "/v1/sessions", settings, NULL, s);
}

optim_status optim_get(optim_client *c, const char *id, optim_session *s) {
    path_text path;
    size_t length = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");
    if (!length || length >= OPTIM_MAX_NAME || id[length])
        return fail(c, OPTIM_BAD_ARGUMENT, "%.80s is no session's id", id);
    return new_session(c, "GET", path_of(id, "", path), NULL, NULL, s);
}

optim_status optim_update(optim_session *s, const char *changes) {
    path_text path;
    return session_call(s->client, "PATCH", path_of(s->id, "", path), changes, s->etag, s);
}

optim_status optim_fork(optim_session *s, const char *settings, optim_session *fork) {
    path_text path;
    return new_session(s->client, "POST", path_of(s->id, "/fork", path), settings ? settings : "{}", s->etag, fork);
}

optim_status optim_undo(optim_session *s) {
    path_text path;
    char body[64];
    snprintf(body, sizeof body, "{\"step\": %lld}", (long long)s->step);
    return session_call(s->client, "POST", path_of(s->id, "/undo", path), body, NULL, s);
}

optim_status optim_delete(optim_session *s) {
    path_text path;
    request r = {.method = "DELETE", .path = path_of(s->id, "", path), .etag = s->etag};
    return perform(s->client, &r);
}

/* Returns the answered parameter in the place of `to`, which must have its shape and dtype, or NULL. */
static const optim_tensor *param_for(const optim_tensor *to, const optim_message *m, size_t from) {
    for (size_t j = 0; j < m->tensor_count; j++) {
        const optim_tensor *t = &m->tensors[(from + j) % m->tensor_count]; /* mostly in the same order */
        if (strncmp(t->name, "params/", 7) || strcmp(t->name + 7, to->name)) continue;
        bool same = t->dtype == to->dtype && t->dimensions == to->dimensions;
        return same && !memcmp(t->shape, to->shape, to->dimensions * sizeof *to->shape) ? t : NULL;
    }
    return NULL;
}

/* Copies the answered parameters over those given: all or none. */
static bool copy_params(const optim_message *m, optim_tensor *params, size_t count) {
    size_t bytes;
    for (size_t i = 0; i < count; i++)
        if (!sendable(&params[i], &bytes) || !param_for(&params[i], m, i)) return false;
    for (size_t i = 0; i < count; i++)
        if (bytes_of(&params[i], &bytes) && bytes) memcpy(params[i].data, param_for(&params[i], m, i)->data, bytes);
    return true;
}

static const char *metadata_of(const optim_message *m, const char *key) {
    for (size_t i = 0; i < m->metadata_count; i++)
        if (!strcmp(m->metadata[2 * i], key)) return m->metadata[2 * i + 1];
    return "";
}

/* Reads the answer to step `number`: the session's new numbers, and the parameters. */
static bool read_step(optim_session *s, const optim_message *m, int64_t number, optim_tensor *params, size_t count) {
    bool skipped = !strcmp(metadata_of(m, "skipped"), "true");
    const char *metrics = metadata_of(m, "metrics"), *warnings = metadata_of(m, "warnings");
    span values = whole(metrics, strlen(metrics));
    if (strtoll(metadata_of(m, "step"), NULL, 10) != number - skipped || !copy_params(m, params, count)) return false;
    s->step = number - skipped;
    s->skipped = skipped;
    copy(s->digest, metadata_of(m, "digest"));
    copy(s->params_digest, metadata_of(m, "params_digest"));
    s->metrics.lr = number_of(member(values, "lr"));
    s->metrics.grad_norm = number_of(member(values, "grad_norm"));
    s->metrics.update_norm = number_of(member(values, "update_norm"));
    s->metrics.param_norm = number_of(member(values, "param_norm"));
    s->metrics.clip_scale = number_of(member(values, "clip_scale"));
    show_warnings(s->client, whole(warnings, strlen(warnings)));
    return true;
}

/* Sends tensors, and reads the step that is answered, if there is a number of one. */
static optim_status send_tensors(optim_session *s, request *r, part *parts, size_t count, const text *metadata,
                                 int64_t number, optim_tensor *params, size_t param_count) {
    optim_client *c = s->client;
    text head = {0};
    if (!header_of(parts, count, metadata, &head))
        return free(head.data), fail(c, OPTIM_BAD_ARGUMENT, "a tensor has no name or data, or an unknown dtype or shape");
    if (head.failed || metadata->failed) return free(head.data), fail(c, OPTIM_FAILED, "out of memory");
    r->media_type = SAFETENSORS, r->head = head.data, r->head_size = head.size, r->parts = parts, r->part_count = count;
    r->size = (curl_off_t)head.size;
    for (size_t i = 0, bytes; i < count; i++, r->size += (curl_off_t)bytes) bytes_of(parts[i].tensor, &bytes);
    optim_status status = perform(c, r);
    free(head.data);
    if (status) return status;
    if (number) {
        optim_message m;
        if (optim_decode(c->answer.data, c->answer.size, &m)) return unreadable(c, r);
        bool read = read_step(s, &m, number, params, param_count);
        optim_free_message(&m);
        if (!read) return unreadable(c, r);
    }
    keep_etag(s);
    return OPTIM_OK;
}

static void number_pair(text *metadata, const char *key, const double *value) {
    char digits[64];
    if (!value) return;
    snprintf(digits, sizeof digits, "%.17g", *value);
    repoint(digits, point(), '.');
    pair(metadata, key, digits);
}

static optim_status take_step(optim_session *s, optim_tensor *params, size_t param_count, const optim_tensor *grads,
                              size_t grad_count, const optim_step_options *options, bool held) {
    size_t sent = held ? 0 : param_count, count = 0;
    path_text path;
    char number[32];
    text metadata = {0};
    request r = {.method = "POST", .path = path_of(s->id, "/steps", path), .minimal = held && !params};
    part *parts = calloc(sent + grad_count + 1, sizeof *parts);
    if (!parts) return fail(s->client, OPTIM_FAILED, "out of memory");
    for (size_t i = 0; i < grad_count; i++) parts[count++] = (part){"grads/", &grads[i]};
    for (size_t i = 0; i < sent; i++) parts[count++] = (part){"params/", &params[i]};
    snprintf(number, sizeof number, "%lld", (long long)s->step + 1);
    pair(&metadata, "step", number);
    if (options) {
        number_pair(&metadata, "loss", options->loss);
        number_pair(&metadata, "lr", options->lr);
        number_pair(&metadata, "grad_scale", options->grad_scale);
        if (options->overrides) pair(&metadata, "overrides", options->overrides);
    }
    optim_status status = send_tensors(s, &r, parts, count, &metadata, s->step + 1, params, params ? param_count : 0);
    free(metadata.data);
    free(parts);
    return status;
}

optim_status optim_step(optim_session *s, optim_tensor *params, size_t param_count, const optim_tensor *grads,
                        size_t grad_count, const optim_step_options *options) {
    return take_step(s, params, param_count, grads, grad_count, options, false);
}

optim_status optim_step_held(optim_session *s, const optim_tensor *grads, size_t grad_count, optim_tensor *params,
                             size_t param_count, const optim_step_options *options) {
    return take_step(s, params, param_count, grads, grad_count, options, true);
}

optim_status optim_put_params(optim_session *s, const optim_tensor *params, size_t count) {
    path_text path;
    text none = {0};
    request r = {.method = "PUT", .path = path_of(s->id, "/params", path), .etag = s->etag};
    part *parts = calloc(count + 1, sizeof *parts);
    if (!parts) return fail(s->client, OPTIM_FAILED, "out of memory");
    for (size_t i = 0; i < count; i++) parts[i] = (part){"params/", &params[i]};
    optim_status status = send_tensors(s, &r, parts, count, &none, 0, NULL, 0);
    free(parts);
    return status;
}

optim_status optim_params(optim_session *s, optim_tensor *params, size_t count) {
    path_text path;
    optim_message m;
    request r = {.method = "GET", .path = path_of(s->id, "/params", path), .accept = SAFETENSORS};
    optim_status status = perform(s->client, &r);
    if (status) return status;
    if (optim_decode(s->client->answer.data, s->client->answer.size, &m)) return unreadable(s->client, &r);
    bool read = copy_params(&m, params, count);
    optim_free_message(&m);
    return read ? OPTIM_OK : unreadable(s->client, &r);
}

static FILE *opened(optim_client *c, const char *path, const char *mode) {
    FILE *file = fopen(path, mode);
    if (!file) fail(c, OPTIM_FAILED, "%.500s cannot be opened", path);
    return file;
}

optim_status optim_save_state(optim_session *s, const char *path) {
    path_text from;
    optim_client *c = s->client;
    text partial = {0};
    print(&partial, "%s.part", path);
    request r = {.method = "GET", .path = path_of(s->id, "/state", from), .accept = SAFETENSORS};
    r.file = partial.failed ? NULL : opened(c, partial.data, "wb");
    optim_status status = r.file ? perform(c, &r) : OPTIM_FAILED;
    if (r.file && fclose(r.file) && !status) status = fail(c, OPTIM_FAILED, "%.500s cannot be written", path);
    if (r.file && status) remove(partial.data);
    if (!status && rename(partial.data, path)) status = fail(c, OPTIM_FAILED, "%.500s cannot be written", path);
    free(partial.data);
    return status;
}

/* Sends a state file. */
static optim_status send_state(optim_client *c, request *r, const char *path) {
    optim_status status = OPTIM_FAILED;
    r->media_type = SAFETENSORS;
    r->file = opened(c, path, "rb");
    if (!r->file) return status;
    if (fseeko(r->file, 0, SEEK_END) || (r->size = (curl_off_t)ftello(r->file)) < 0)
        fail(c, status, "%.500s cannot be read", path);
    else
        status = perform(c, r);
    fclose(r->file);
    return status;
}

optim_status optim_load_state(optim_session *s, const char *path) {
    path_text to;
    request r = {.method = "PUT", .path = path_of(s->id, "/state", to), .etag = s->etag};
    optim_status status = send_state(s->client, &r, path);
    if (!status) keep_etag(s); /* if the session then cannot be read, the same call again finds it unchanged */
    return status ? status : session_call(s->client, "GET", path_of(s->id, "", to), NULL, NULL, s);
}

optim_status optim_create_from_state(optim_client *c, const char *path, optim_session *s) {
    request r = {.method = "POST", .path = "/v1/sessions"};
    optim_session fresh = {0};
    optim_status status = send_state(c, &r, path);
    status = status ? status : read_session(c, &r, &fresh);
    if (!status) *s = fresh;
    return status;
}

optim_status optim_call(optim_client *c, const char *method, const char *path, const char *content_type,
                        const void *body, size_t size, optim_answer *answer) {
    request r = {.method = method, .path = path, .media_type = !body ? NULL : content_type ? content_type : JSON,
                 .head = body, .head_size = size, .size = (curl_off_t)size};
    optim_status status = perform(c, &r);
    if (!status) *answer = (optim_answer){status_of(c), c->answer.data, c->answer.size};
    return status;
}
