/* The prover of the C client: clients/README.md says what it is told and what it prints. */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "optim.h"

/* The clock of one call: the harness moves it. */
typedef struct {
    double now, chance;
} clock_of_lines;

static double now(void *context) { return ((clock_of_lines *)context)->now; }

static double chance(void *context) { return ((clock_of_lines *)context)->chance; }

static void wait_for_line(void *context, double seconds) {
    char line[64];
    printf("{\"wait\": %.17g}\n", seconds);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) exit(1);
    ((clock_of_lines *)context)->now = strtod(line, NULL);
}

static void quote(const char *words) {
    if (!words) {
        printf("null");
        return;
    }
    putchar('"');
    for (; *words; words++) {
        if (*words == '"' || *words == '\\') putchar('\\');
        if ((unsigned char)*words < 0x20) printf("\\u%04x", *words);
        else putchar(*words);
    }
    putchar('"');
}

static void print_error(const optim_error *error) {
    printf("{\"end\": \"error\", \"status\": ");
    error->http_status ? printf("%ld", error->http_status) : printf("null");
    printf(", \"code\": "), quote(error->code);
    printf(", \"detail\": "), quote(error->detail);
    printf(", \"request_id\": "), quote(error->request_id);
    printf(", \"members\": %s}\n", error->members);
}

static int calls(void) {
    char url[512], method[16], path[512], seconds[32], retries[32], line[2048];
    clock_of_lines time;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%511s %15s %511s %31s %31s %lf", url, method, path, seconds, retries, &time.chance) != 6)
            return 2;
        optim_client *client = optim_open(url, NULL);
        optim_answer answer;
        if (!client) return 1;
        time.now = 0;
        optim_set_clock(client, &(optim_clock){now, wait_for_line, chance, &time});
        optim_set_retries(client, strtod(seconds, NULL), strtod(retries, NULL));
        const char *body = strcmp(method, "POST") ? NULL : "{}";
        if (optim_call(client, method, path, "application/json", body, body ? 2 : 0, &answer))
            print_error(optim_last_error(client));
        else printf("{\"end\": \"result\", \"status\": %ld}\n", answer.http_status);
        fflush(stdout);
        optim_close(client);
    }
    return 0;
}

static void *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) exit(1);
    *size = (size_t)ftell(file);
    rewind(file);
    void *bytes = malloc(*size + 1);
    if (!bytes || fread(bytes, 1, *size, file) != *size) exit(1);
    fclose(file);
    return bytes;
}

static void print_tensor(const optim_tensor *t) {
    static const char *const codes[] = {"F64", "F32", "F16", "BF16", "I64", "I8"};
    static const size_t sizes[] = {8, 4, 2, 2, 8, 1};
    size_t bytes = sizes[t->dtype];
    quote(t->name);
    printf(": {\"dtype\": \"%s\", \"shape\": [", codes[t->dtype]);
    for (size_t i = 0; i < t->dimensions; i++) {
        printf("%s%zu", i ? ", " : "", t->shape[i]);
        bytes *= t->shape[i];
    }
    printf("], \"hex\": \"");
    for (size_t i = 0; i < bytes; i++) printf("%02x", ((unsigned char *)t->data)[i]);
    printf("\"}");
}

static void print_message(const optim_message *m) {
    printf("{\"metadata\": {");
    for (size_t i = 0; i < m->metadata_count; i++) {
        printf("%s", i ? ", " : "");
        quote(m->metadata[2 * i]);
        printf(": ");
        quote(m->metadata[2 * i + 1]);
    }
    printf("}, \"tensors\": {");
    for (size_t i = 0; i < m->tensor_count; i++) {
        printf("%s", i ? ", " : "");
        print_tensor(&m->tensors[i]);
    }
    printf("}}\n");
}

static int golden(char **files) {
    for (; files[0] && files[1] && files[2]; files += 3) {
        optim_message request, response;
        size_t size, encoded_size;
        void *bytes = read_file(files[0], &size), *encoded;
        if (optim_decode(bytes, size, &request) || optim_encode(&request, &encoded, &encoded_size)) return 1;
        FILE *out = fopen(files[2], "wb");
        if (!out || fwrite(encoded, 1, encoded_size, out) != encoded_size || fclose(out)) return 1;
        optim_free_message(&request);
        free(encoded);
        free(bytes);
        bytes = read_file(files[1], &size);
        if (optim_decode(bytes, size, &response)) return 1;
        print_message(&response);
        fflush(stdout);
        optim_free_message(&response);
        free(bytes);
    }
    return 0;
}

int main(int count, char **arguments) {
    if (count > 1 && !strcmp(arguments[1], "golden")) return golden(arguments + 2);
    if (count > 1 && !strcmp(arguments[1], "call")) return calls();
    if (count > 2 && !strcmp(arguments[1], "train"))
        return execl("build/least_squares", "least_squares", arguments[2], (char *)NULL);
    fprintf(stderr, "usage: prove golden REQUEST RESPONSE OUT ... | call | train URL\n");
    return 2;
}
