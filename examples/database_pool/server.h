/* A PostgreSQL server of the example's own, in a folder that goes with it. One thread. */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct server;

/* Makes a cluster in a new temporary folder and starts it, on a unix socket in there. bin: the folder of
 * initdb and postgres, or NULL for Debian's. As root it runs as user postgres. */
int server_start(const char *bin, struct server **ret_server, struct error *error)
    __attribute__((warn_unused_result));
/* For PQconnectdb(). */
const char *server_conninfo(const struct server *server);
/* Ends it and removes the folder. NULL is ignored. */
void server_stop(struct server *server);
