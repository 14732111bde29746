/*
 * All sinks of an agent: begun from settings, changed by new settings while they run, ended together.
 * Loop thread only.
 */
#pragma once

#include "base/json.h"
#include "loop/loop.h"
#include "sinks/sink.h"

struct sinks;

struct sinks_options {
    struct loop *loop; /* all borrowed */
    struct spool *spool;
    struct metrics *metrics;
    const char *state_dir;
};

int sinks_create(const struct sinks_options *options, struct sinks **ret_sinks)
    __attribute__((warn_unused_result));
/*
 * Makes the sinks be these; takes over the settings, not the array, in any case. Those whose settings
 * are the same go on undisturbed. One that is gone or changed delivers what it holds, stores its
 * cursor and ends; a changed one begins again there. One that can't be begun is told in the log,
 * or, with error given, ends this at once with a negative errno.
 */
int sinks_apply(struct sinks *sinks, struct sink_settings **settings, size_t count,
                struct error *error);
/* Delivers what is durable, for at most timeout_ns all together. NULL is ignored. */
void sinks_destroy(struct sinks *sinks, int64_t timeout_ns);

/* Members of an array: one object per sink. */
void sinks_put_status(struct sinks *sinks, struct json_writer *writer);
/* Members of an array: a text per sink that does not run, with the reason. */
void sinks_put_problems(struct sinks *sinks, struct json_writer *writer);
