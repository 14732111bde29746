/* What both ends share: connections as resources of a pool, and taking them out of it. */
#include "pools/netpool_get.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "pools/pool_make.h"

static void destroy_conn(void *data, void *resource)
{
    (void)data;
    struct netpool_conn *conn = resource;
    conn_finish(&conn->conn);
    free(conn);
}

/* Bytes that wait are the peer's first words to whoever takes it. */
static bool is_open(void *data, void *resource)
{
    (void)data;
    return conn_activity(&((struct netpool_conn *)resource)->conn) != CONN_OVER;
}

const struct pool_type netpool_type = {.destroy = destroy_conn, .is_healthy = is_open};

static bool has_id(const void *resource, const void *id)
{
    return strcmp(((const struct netpool_conn *)resource)->id, id) == 0;
}

/* The lease becomes the caller's connection. */
static int detach(struct pool *pool, struct pool_lease lease, struct netpool_conn *ret_conn)
{
    void *resource = NULL;
    int rc = pool_detach(pool, lease, &resource);
    if (rc == 0) {
        *ret_conn = *(struct netpool_conn *)resource;
        free(resource);
    }
    return rc;
}

static struct pool_wish wish_of(const char *id, int64_t timeout_ns)
{
    return (struct pool_wish){.holder = "netpool",
                              .timeout_ns = timeout_ns,
                              .match = id != NULL ? has_id : NULL,
                              .match_data = id};
}

int netpool_take(struct pool *pool, const char *id, int64_t timeout_ns,
                 struct netpool_conn *ret_conn, struct error *error)
{
    struct pool_wish wish = wish_of(id, timeout_ns);
    struct pool_lease lease;
    int rc = pool_acquire(pool, &wish, &lease, error);
    return rc != 0 ? rc : detach(pool, lease, ret_conn);
}

void netpool_put(struct pool *pool, struct pool_lease lease, const struct netpool_conn *conn)
{
    struct netpool_conn *copy = malloc(sizeof(*copy));
    if (copy == NULL) {
        struct conn closed = conn->conn;
        conn_finish(&closed);
        pool_abandon(pool, lease, -ENOMEM, "out of memory");
        return;
    }
    *copy = *conn;
    pool_add(pool, lease, copy);
}

/* ---- in a loop ---- */

static void handle_done(struct pool_request *request, int rc, struct pool_lease lease, void *data)
{
    (void)request;
    struct netpool_get *get = data;
    struct netpool_conn conn = {.conn = {.fd = -1}};
    rc = rc != 0 ? rc : detach(get->pool, lease, &conn);
    get->on_done(get, rc, conn, get->data);
}

void netpool_get_init(struct netpool_get *get, struct loop *loop, netpool_get_fn on_done,
                      void *data)
{
    *get = (struct netpool_get){.on_done = on_done, .data = data};
    pool_request_init(&get->request, loop, handle_done, get);
}

void netpool_get_start(struct netpool_get *get, struct pool *pool, struct pool_mailbox *mailbox,
                       const char *id, int64_t timeout_ns)
{
    if (id != NULL) {
        (void)str_copy(get->id, sizeof(get->id), id);
    }
    struct pool_wish wish = wish_of(id != NULL ? get->id : NULL, timeout_ns);
    get->pool = pool;
    pool_request_start(&get->request, pool, mailbox, &wish, false);
}

void netpool_get_cancel(struct netpool_get *get)
{
    pool_request_cancel(&get->request);
}
