/* The C client of Optim Service: an optimizer over HTTP, every step durable and applied exactly once.
 *
 * It needs C11, POSIX and libcurl 7.84 or later. A client and its sessions belong to one thread at a time; after a fork
 * the child opens its own connections. clients/c/README.md has an example, docs/clients/c.md describes every name.
 */
#ifndef OPTIM_H
#define OPTIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The outcome of a call. After any but OPTIM_OK, optim_last_error tells the rest. */
typedef enum {
    OPTIM_OK = 0,
    OPTIM_REFUSED,      /* the service, or a proxy, answered with a refusal */
    OPTIM_NO_ANSWER,    /* no answer came in the time for retries; the same step again is taken once */
    OPTIM_BAD_ANSWER,   /* a success that cannot be read: does the address lead to the service? */
    OPTIM_BAD_ARGUMENT, /* nothing was sent */
    OPTIM_FAILED        /* memory or a file of this machine */
} optim_status;

typedef enum { OPTIM_F64, OPTIM_F32, OPTIM_F16, OPTIM_BF16, OPTIM_I64, OPTIM_I8 } optim_dtype;

#define OPTIM_MAX_DIMENSIONS 8
#define OPTIM_MAX_NAME 128

/* A tensor: contiguous, row by row, little-endian. A scalar has no dimensions. */
typedef struct {
    const char *name;
    optim_dtype dtype;
    size_t dimensions;
    size_t shape[OPTIM_MAX_DIMENSIONS];
    void *data;
} optim_tensor;

/* A client: the address of a service, connections to it, and the limits of retries. */
typedef struct optim_client optim_client;

/* A refusal, or what came instead of an answer. It is valid until the client's next call. */
typedef struct {
    long http_status;       /* 0 if no answer came */
    const char *code;       /* NULL if something else than the service answered */
    const char *detail;     /* never NULL */
    const char *request_id; /* finds the request in the service's log; NULL if there is none */
    const char *members;    /* the code's own members, as a JSON object */
} optim_error;

typedef struct {
    double lr, grad_norm, update_norm, param_norm, clip_scale;
} optim_metrics;

/* One training run's optimizer, as the service answered last. It holds no memory of its own. */
typedef struct {
    optim_client *client;
    char id[OPTIM_MAX_NAME];
    char etag[OPTIM_MAX_NAME];
    char digest[OPTIM_MAX_NAME];
    char params_digest[OPTIM_MAX_NAME];
    int64_t step;
    bool hold_params;
    bool skipped;          /* of the last step: a gradient was not finite, so it has no number */
    optim_metrics metrics; /* of the last step */
} optim_session;

/* Options of one step. Members that are NULL are left out. */
typedef struct {
    const double *loss;
    const double *lr;
    const double *grad_scale;
    const char *overrides; /* JSON, such as {"betas": [0.85, 0.99]} */
} optim_step_options;

/* The address is `url`, or OPTIM_BASE_URL, or http://127.0.0.1:8000; the key is `api_key`, or OPTIM_API_KEY, or none.
 * Returns NULL if memory is lacking. */
optim_client *optim_open(const char *url, const char *api_key);
void optim_close(optim_client *client);

/* Retries go on for `seconds` since the first failure (120 at first), and at most `retries` times (INFINITY at first). */
void optim_set_retries(optim_client *client, double seconds, double retries);

/* The longest time without progress, in seconds; 60 at first. */
void optim_set_timeout(optim_client *client, long seconds);

/* The log gets lines about retries and warnings; NULL is standard error. */
void optim_set_log(optim_client *client, void (*log)(void *context, const char *line), void *context);

/* The clock of retries: seconds from any start, a sleep, and a random number from 0 to 1. NULL is the machine's own. */
typedef struct {
    double (*now)(void *context);
    void (*sleep)(void *context, double seconds);
    double (*chance)(void *context);
    void *context;
} optim_clock;
void optim_set_clock(optim_client *client, const optim_clock *clock);

const optim_error *optim_last_error(const optim_client *client);

/* Sessions. `settings` is a JSON object, such as {"optimizer": "adamw"}. */
optim_status optim_create(optim_client *client, const char *settings, optim_session *session);
optim_status optim_create_from_state(optim_client *client, const char *path, optim_session *session);
optim_status optim_get(optim_client *client, const char *id, optim_session *session);
optim_status optim_update(optim_session *session, const char *changes);
optim_status optim_fork(optim_session *session, const char *settings, optim_session *fork);
optim_status optim_undo(optim_session *session);
optim_status optim_delete(optim_session *session);

/* Takes one step. Sends the parameters with their gradients, and writes the new parameters over the old. */
optim_status optim_step(optim_session *session, optim_tensor *params, size_t param_count, const optim_tensor *grads,
                        size_t grad_count, const optim_step_options *options);

/* Takes one step of a session that holds its parameters. Writes them to `params`, or asks for none if that is NULL. */
optim_status optim_step_held(optim_session *session, const optim_tensor *grads, size_t grad_count,
                             optim_tensor *params, size_t param_count, const optim_step_options *options);

/* The parameters that a session holds. */
optim_status optim_put_params(optim_session *session, const optim_tensor *params, size_t count);
optim_status optim_params(optim_session *session, optim_tensor *params, size_t count);

/* The whole state, as a file. */
optim_status optim_save_state(optim_session *session, const char *path);
optim_status optim_load_state(optim_session *session, const char *path);

/* Any other call: `body` may be NULL, and `content_type` for JSON. The answer is valid until the client's next call. */
typedef struct {
    long http_status;
    const char *body;
    size_t size;
} optim_answer;
optim_status optim_call(optim_client *client, const char *method, const char *path, const char *content_type,
                        const void *body, size_t size, optim_answer *answer);

/* A message of tensors: the names have their kinds, such as params/w; `metadata` has keys and values in turn. */
typedef struct {
    optim_tensor *tensors;
    size_t tensor_count;
    const char **metadata;
    size_t metadata_count; /* of pairs */
    void *memory;
} optim_message;
optim_status optim_encode(const optim_message *message, void **bytes, size_t *size); /* free() the bytes */
optim_status optim_decode(const void *bytes, size_t size, optim_message *message);   /* its tensors lie in the bytes */
void optim_free_message(optim_message *message);

#ifdef __cplusplus
}
#endif
#endif
