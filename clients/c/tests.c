/* Tests of the C client with a service at OPTIM_BASE_URL: what the prover does not reach. */
#define _POSIX_C_SOURCE 200809L

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "optim.h"

#define CHECK(condition) ((condition) ? (void)0 : failed(#condition, __LINE__))
#define OK(call) CHECK((call) == OPTIM_OK)

static optim_client *client;
static char said[4096];

static void failed(const char *condition, int line) {
    fprintf(stderr, "tests.c:%d: %s; %s\n", line, condition, client ? optim_last_error(client)->detail : "no client");
    exit(1);
}

static void keep(void *context, const char *line) {
    (void)context;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", line);
}

static optim_tensor vector(const char *name, float *data, size_t length) {
    return (optim_tensor){name, OPTIM_F32, 1, {length}, data};
}

static void a_session_that_holds_its_parameters_goes_every_road(void) {
    optim_session s, copy;
    float w[2] = {1, 2}, dw[2] = {0.5f, -1}, after[2];
    double lr = 0.125, loss = 0.5;
    optim_tensor params = vector("w", w, 2), grads = vector("w", dw, 2);
    OK(optim_create(client, "{\"optimizer\": \"sgd\", \"hold_params\": true, \"undo\": 1}", &s));
    CHECK(s.step == 0 && s.hold_params);
    OK(optim_put_params(&s, &params, 1));
    OK(optim_step_held(&s, &grads, 1, &params, 1, &(optim_step_options){.loss = &loss, .lr = &lr}));
    CHECK(s.step == 1 && !s.skipped && s.metrics.lr == lr && w[0] == 0.9375f && w[1] == 2.125f);
    OK(optim_fork(&s, NULL, &copy));
    CHECK(copy.step == 1 && !strcmp(copy.digest, s.digest) && strcmp(copy.id, s.id));
    OK(optim_step_held(&s, &grads, 1, NULL, 0, NULL));
    CHECK(s.step == 2);
    OK(optim_undo(&s));
    CHECK(s.step == 1 && !strcmp(copy.digest, s.digest));
    params.data = after;
    OK(optim_params(&s, &params, 1));
    CHECK(!memcmp(after, w, sizeof w));
    OK(optim_update(&s, "{\"hyperparameters\": {\"lr\": 0.25}}"));
    OK(optim_step_held(&s, &grads, 1, &params, 1, NULL));
    CHECK(s.metrics.lr == 0.25);
    OK(optim_delete(&copy));
    CHECK(optim_get(client, copy.id, &copy) == OPTIM_REFUSED);
    CHECK(!strcmp(optim_last_error(client)->code, "session_not_found") && optim_last_error(client)->request_id);
    OK(optim_delete(&s));
}

static void a_state_file_makes_the_session_again(void) {
    char path[] = "build/state-XXXXXX";
    optim_session s, again;
    float w[3] = {1, 2, 3}, dw[3] = {1, 1, 1}, before[3], lost[3];
    optim_tensor params = vector("w", w, 3), grads = vector("w", dw, 3);
    int file = mkstemp(path);
    CHECK(file >= 0 && !close(file));
    OK(optim_create(client, "{\"optimizer\": \"adamw\"}", &s));
    OK(optim_step(&s, &params, 1, &grads, 1, NULL));
    OK(optim_save_state(&s, path));
    OK(optim_create_from_state(client, path, &again));
    CHECK(again.step == 1 && !strcmp(again.digest, s.digest));
    memcpy(before, w, sizeof w);
    OK(optim_step(&s, &params, 1, &grads, 1, NULL));
    memcpy(lost, w, sizeof w), memcpy(w, before, sizeof w), s.step--; /* as after a crash: the lost answer comes again */
    OK(optim_step(&s, &params, 1, &grads, 1, NULL));
    CHECK(s.step == 2 && !memcmp(w, lost, sizeof w));
    OK(optim_load_state(&s, path));
    CHECK(s.step == 1 && !strcmp(again.digest, s.digest));
    CHECK(!unlink(path));
    CHECK(optim_load_state(&s, path) == OPTIM_FAILED);
    OK(optim_delete(&s));
    OK(optim_delete(&again));
}

static void parameters_are_all_written_or_none(void) {
    optim_session s;
    float w[1] = {1}, v[2] = {2, 3}, dw[1] = {1}, dv[2] = {1, 1};
    optim_tensor params[] = {vector("w", w, 1), vector("v", v, 2)}, grads[] = {vector("w", dw, 1), vector("v", dv, 2)};
    OK(optim_create(client, "{\"optimizer\": \"sgd\", \"hyperparameters\": {\"lr\": 0.5}, \"hold_params\": true}", &s));
    OK(optim_put_params(&s, params, 2));
    optim_session before = s;
    params[1].shape[0] = 1;
    CHECK(optim_step_held(&s, grads, 2, params, 2, NULL) == OPTIM_BAD_ANSWER);
    CHECK(optim_params(&s, params, 2) == OPTIM_BAD_ANSWER);
    params[1].shape[0] = 2, params[1].data = NULL;
    CHECK(optim_params(&s, params, 2) == OPTIM_BAD_ANSWER);
    CHECK(w[0] == 1 && v[0] == 2 && !memcmp(&s, &before, sizeof s));
    params[1].data = v;
    OK(optim_step_held(&s, grads, 2, params, 2, NULL)); /* the same step again */
    CHECK(w[0] == 0.5f && v[0] == 1.5f && s.step == 1);
    OK(optim_delete(&s));
}

static void a_large_step_comes_back_whole(void) {
    enum { LENGTH = 3000000 };
    optim_session s;
    float *w = calloc(LENGTH, sizeof *w), *dw = calloc(LENGTH, sizeof *dw), scalar = 1, slope = -1;
    CHECK(w && dw);
    optim_tensor params[] = {vector("w", w, LENGTH), {"scalar \"s\"", OPTIM_F32, 0, {0}, &scalar}};
    optim_tensor grads[] = {vector("w", dw, LENGTH), {"scalar \"s\"", OPTIM_F32, 0, {0}, &slope}};
    for (int i = 0; i < LENGTH; i++) dw[i] = (float)(i % 7);
    OK(optim_create(client, "{\"optimizer\": \"sgd\", \"hyperparameters\": {\"lr\": 0.5}}", &s));
    OK(optim_step(&s, params, 2, grads, 2, NULL));
    for (int i = 0; i < LENGTH; i++) CHECK(w[i] == -0.5f * (float)(i % 7));
    CHECK(scalar == 1.5f);
    OK(optim_delete(&s));
    free(w);
    free(dw);
}

static void a_skipped_step_has_no_number_and_warnings_are_said_once(void) {
    optim_session s;
    float w[1] = {1}, dw[1] = {NAN};
    optim_tensor params = vector("w", w, 1), grads = vector("w", dw, 1);
    OK(optim_create(client, "{\"optimizer\": \"adamw\", \"on_non_finite\": \"skip\"}", &s));
    OK(optim_step(&s, &params, 1, &grads, 1, NULL));
    CHECK(s.skipped && s.step == 0 && w[0] == 1);
    dw[0] = 1;
    OK(optim_step(&s, &params, 1, &grads, 1, NULL));
    CHECK(!s.skipped && s.step == 1 && !*said);
    for (int i = 0; i < 2; i++) {
        w[0] = 5;
        OK(optim_step(&s, &params, 1, &grads, 1, NULL));
    }
    CHECK(strchr(said, '\n') == strrchr(said, '\n') && strlen(said) > 10);
    optim_session stale = s;
    OK(optim_step(&s, &params, 1, &grads, 1, NULL));
    dw[0] = 7;
    CHECK(optim_step(&stale, &params, 1, &grads, 1, NULL) == OPTIM_REFUSED);
    CHECK(!strcmp(optim_last_error(client)->code, "step_conflict"));
    CHECK(!strcmp(optim_last_error(client)->members, "{\"current_step\":4}"));
    OK(optim_delete(&s));
}

static void a_forked_process_has_connections_of_its_own(void) {
    optim_session s;
    int status;
    OK(optim_create(client, "{\"optimizer\": \"adamw\"}", &s));
    pid_t child = fork();
    if (!child) _exit(optim_get(client, s.id, &s) != OPTIM_OK);
    for (int i = 0; i < 20; i++) OK(optim_get(client, s.id, &s));
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status));
    OK(optim_delete(&s));
}

static void bad_arguments_send_nothing(void) {
    optim_session s;
    optim_tensor nameless = {NULL, OPTIM_F32, 0, {0}, &s};
    CHECK(optim_create(client, "{\"optimizer\": ", &s) == OPTIM_BAD_ARGUMENT);
    CHECK(optim_get(client, "../x", &s) == OPTIM_BAD_ARGUMENT);
    OK(optim_create(client, "{\"optimizer\": \"adamw\"}", &s));
    CHECK(optim_step(&s, &nameless, 1, &nameless, 1, NULL) == OPTIM_BAD_ARGUMENT);
    nameless.name = "without data", nameless.data = NULL;
    CHECK(optim_step(&s, &nameless, 1, &nameless, 1, NULL) == OPTIM_BAD_ARGUMENT);
    optim_client *other = optim_open("http://127.0.0.1:8000", "key\r\nX: y");
    CHECK(optim_get(other, s.id, &s) == OPTIM_BAD_ARGUMENT);
    optim_close(other);
    other = optim_open("file:///dev/null", NULL);
    CHECK(optim_get(other, s.id, &s) == OPTIM_BAD_ARGUMENT);
    optim_close(other);
    OK(optim_delete(&s));
}

static void a_page_is_no_answer(void) {
    optim_answer answer;
    CHECK(optim_call(client, "GET", "/docs", NULL, NULL, 0, &answer) == OPTIM_BAD_ANSWER);
    OK(optim_call(client, "GET", "/livez", NULL, NULL, 0, &answer));
}

static void malformed_messages_are_refused(void) {
    static const char *const headers[] = {
        "[]", "{", "{\"w\":1}", "{}", "{\"__metadata__\":{\"a\":1}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[8,0]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}",
        "{\"w\":{\"dtype\":\"F8\",\"shape\":[8],\"data_offsets\":[0,8]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[2.5],\"data_offsets\":[0,8]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[0x2],\"data_offsets\":[0,8]}}",
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        unsigned char bytes[256] = {0};
        optim_message m;
        bytes[0] = (unsigned char)strlen(headers[i]);
        memcpy(bytes + 8, headers[i], bytes[0]);
        CHECK(optim_decode(bytes, 8 + (size_t)bytes[0] + 8, &m) == OPTIM_BAD_ANSWER);
    }
}

static void no_message_of_any_bytes_is_read_beyond_its_end(void) {
    static const char header[] = "{\"__metadata__\":{\"k\":\"v\\u00e9\"},\"w\":{\"dtype\":\"F32\",\"shape\":[1],"
                                 "\"data_offsets\":[0,4]}}";
    size_t length = sizeof header - 1, size = 8 + length + 4;
    for (size_t i = 0; i < size + 8 * length; i++) { /* each shorter message, then each with another bit */
        size_t cut = i < size ? i : size;
        unsigned char *bytes = calloc(1, size), *exact = malloc(cut ? cut : 1);
        optim_message m;
        CHECK(bytes && exact);
        bytes[0] = (unsigned char)length;
        memcpy(bytes + 8, header, length);
        if (i >= size) bytes[8 + (i - size) / 8] ^= (unsigned char)(1U << (i - size) % 8);
        memcpy(exact, bytes, cut);
        optim_status status = optim_decode(exact, cut, &m);
        CHECK(i >= size || status == OPTIM_BAD_ANSWER);
        if (status == OPTIM_OK) optim_free_message(&m);
        free(exact);
        free(bytes);
    }
}

int main(void) {
    client = optim_open(NULL, NULL);
    CHECK(client);
    optim_set_retries(client, 30, INFINITY);
    optim_set_log(client, keep, NULL);
    a_session_that_holds_its_parameters_goes_every_road();
    a_state_file_makes_the_session_again();
    parameters_are_all_written_or_none();
    a_large_step_comes_back_whole();
    a_skipped_step_has_no_number_and_warnings_are_said_once();
    a_forked_process_has_connections_of_its_own();
    bad_arguments_send_nothing();
    a_page_is_no_answer();
    malformed_messages_are_refused();
    no_message_of_any_bytes_is_read_beyond_its_end();
    optim_close(client);
    return 0;
}
