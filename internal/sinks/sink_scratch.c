/* Encoding takes milliseconds, so who finds all of them taken waits for one; it is never long. */
#include "sinks/sink_scratch.h"

#include <errno.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/timestamp.h"

#define BUFFERS 4
#define IDLE_LIMIT_NS (4 * NS_PER_SECOND)

static int create(void *data, void **ret_resource, struct error *error)
{
    (void)data;
    struct buf *buf = malloc(sizeof(*buf));
    if (buf == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    buf_init(buf, 0);
    *ret_resource = buf;
    return 0;
}

static void destroy(void *data, void *resource)
{
    (void)data;
    buf_finish(resource);
    free(resource);
}

static int reset(void *data, void *resource)
{
    (void)data;
    buf_clear(resource);
    return 0;
}

int sink_scratch_create(struct metrics *metrics, struct pool **ret_pool)
{
    static const struct pool_type type = {.create = create, .destroy = destroy, .reset = reset};
    int rc = pool_create(&(struct pool_options){.name = "encode_buffers",
                                                .type = &type,
                                                .max = BUFFERS,
                                                .idle_limit_ns = IDLE_LIMIT_NS,
                                                .check_idle_ns = -1},
                         ret_pool, NULL);
    if (rc == 0 && metrics != NULL && pool_register_metrics(*ret_pool, metrics) != 0) {
        pool_destroy(*ret_pool);
        rc = -ENOMEM;
    }
    return rc;
}

void sink_scratch_tend(struct pool *pool)
{
    (void)pool_tend(pool);
}
