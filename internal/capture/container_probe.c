/* `tail=1` costs the daemon less than a millisecond, except where a truncated file makes it spin:
 * there the time limit of the call ends it, and no line is the result. */
#include "capture/container_probe.h"

#include <errno.h>
#include <stdlib.h>

#include "docker/docker_logs.h"
#include "process/frames.h"

#define PROBE_FRAME_LIMIT_BYTES 65536

struct container_probe {
    struct docker_logs *logs;
    struct frames frames;
    struct probe_result result;
    probe_fn on_result;
    void *data;
};

static void handle_piece(uint8_t stream, int64_t time_ns, const char *bytes, size_t size,
                         void *data)
{
    (void)bytes;
    (void)size;
    struct container_probe *probe = data;
    probe->result.found = true;
    probe->result.stream = stream;
    probe->result.time_ns = time_ns;
}

static void ignore_error(const char *text, size_t size, void *data)
{
    (void)text;
    (void)size;
    (void)data;
}

static void handle_bytes(const char *bytes, size_t size, void *data)
{
    struct container_probe *probe = data;
    if (frames_feed(&probe->frames, bytes, size, NULL) != 0) {
        probe->result.inconclusive = true;
        docker_logs_close(probe->logs);
    }
}

static void handle_end(const struct docker_outcome *outcome, void *data)
{
    struct container_probe *probe = data;
    frames_end(&probe->frames);
    bool timed_out = outcome->verdict == DOCKER_UNAVAILABLE && outcome->status == 200;
    if (outcome->verdict != DOCKER_OK && !timed_out) {
        probe->result.inconclusive = true;
    }
    frames_finish(&probe->frames);
    probe->on_result(&probe->result, probe->data);
    free(probe);
}

int container_probe_start(const struct container_probe_options *options,
                          struct container_probe **ret_probe)
{
    struct container_probe *probe = calloc(1, sizeof(*probe));
    if (probe == NULL) {
        return -ENOMEM;
    }
    probe->on_result = options->on_result;
    probe->data = options->data;
    frames_init(&probe->frames, &(struct frames_options){.tty = options->tty,
                                                         .limit_bytes = PROBE_FRAME_LIMIT_BYTES,
                                                         .on_piece = handle_piece,
                                                         .on_daemon_error = ignore_error,
                                                         .data = probe});
    int rc = docker_logs_open(options->client,
                              &(struct docker_logs_options){.id = options->id,
                                                            .probe = true,
                                                            .tail = 1,
                                                            .on_data = handle_bytes,
                                                            .on_end = handle_end,
                                                            .data = probe},
                              &probe->logs);
    if (rc != 0) {
        free(probe);
        return rc;
    }
    *ret_probe = probe;
    return 0;
}
