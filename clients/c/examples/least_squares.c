/* Fits a plane to four points by AdamW over HTTP: least_squares [URL]. */
#include <stdio.h>

#include "../optim.h"

static const double POINTS[4][2] = {{1, 2}, {3, 1}, {2, 4}, {4, 3}}, TARGETS[4] = {7, 7, 15, 16};
static const char SETTINGS[] = "{\"optimizer\": \"adamw\","
                               " \"hyperparameters\": {\"lr\": 0.5, \"betas\": [0.7, 0.9], \"weight_decay\": 0},"
                               " \"schedule\": {\"kind\": \"cosine\", \"total_steps\": 60}}";

/* The gradient of half the mean of the squared errors; returns that mean. */
static double gradient(const float w[2], const float b[1], float dw[2], float db[1]) {
    double sums[3] = {0}, loss = 0;
    for (int i = 0; i < 4; i++) {
        double error = POINTS[i][0] * w[0] + POINTS[i][1] * w[1] + b[0] - TARGETS[i];
        sums[0] += error * POINTS[i][0], sums[1] += error * POINTS[i][1], sums[2] += error;
        loss += error * error / 4;
    }
    dw[0] = (float)(sums[0] / 4), dw[1] = (float)(sums[1] / 4), db[0] = (float)(sums[2] / 4);
    return loss;
}

int main(int count, char **arguments) {
    float w[2] = {0}, b[1] = {0}, dw[2], db[1];
    optim_tensor params[] = {{"w", OPTIM_F32, 1, {2}, w}, {"b", OPTIM_F32, 1, {1}, b}};
    optim_tensor grads[] = {{"w", OPTIM_F32, 1, {2}, dw}, {"b", OPTIM_F32, 1, {1}, db}};
    optim_session session;
    optim_client *client = optim_open(count > 1 ? arguments[1] : NULL, NULL);
    if (!client) return 1;
    optim_status status = optim_create(client, SETTINGS, &session);
    while (!status && session.step < 60) {
        double loss = gradient(w, b, dw, db);
        status = optim_step(&session, params, 2, grads, 2, &(optim_step_options){.loss = &loss});
    }
    if (status) fprintf(stderr, "%s\n", optim_last_error(client)->detail);
    else printf("{\"params\": {\"w\": [%.9g, %.9g], \"b\": [%.9g]}}\n", w[0], w[1], b[0]);
    optim_close(client);
    return status != OPTIM_OK;
}
