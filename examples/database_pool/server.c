/* initdb, then postgres with a unix socket only; SIGINT is its fast shutdown. */
#include "server.h"

#include <errno.h>
#include <glob.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATH_SIZE 256
#define START_TRIES 600 /* of 50 ms */

struct server {
    char dir[PATH_SIZE];
    char bin[PATH_SIZE];
    char conninfo[PATH_SIZE + 64];
    pid_t pid; /* 0: not started */
};

static int find_bin(const char *given, char *ret_bin)
{
    glob_t found = {0};
    if (given == NULL && glob("/usr/lib/postgresql/*/bin", 0, NULL, &found) == 0) {
        given = found.gl_pathv[found.gl_pathc - 1];
    }
    int n = given == NULL ? -1 : snprintf(ret_bin, PATH_SIZE, "%s", given);
    globfree(&found);
    return n > 0 && n < PATH_SIZE ? 0 : -ENOENT;
}

/* postgres refuses to run as root. */
static void become_postgres(void)
{
    const struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : NULL;
    if (user != NULL && (initgroups(user->pw_name, user->pw_gid) != 0 ||
                         setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0)) {
        _exit(126);
    }
}

/* In the server's folder, by the shell; what it prints goes to the file log there. */
static pid_t spawn(const struct server *server, const char *arguments)
{
    char command[PATH_SIZE * 2 + 256];
    (void)snprintf(command, sizeof(command), "exec >>log 2>&1 %s/%s", server->bin, arguments);
    pid_t pid = fork();
    if (pid == 0) {
        become_postgres();
        if (chdir(server->dir) == 0) {
            (void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        }
        _exit(127);
    }
    return pid;
}

static int make_folder(struct server *server)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(server->dir, sizeof(server->dir), "%s/database_pool.XXXXXX",
                   tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(server->dir) == NULL) {
        return -errno;
    }
    const struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : NULL;
    return user != NULL && chown(server->dir, user->pw_uid, user->pw_gid) != 0 ? -errno : 0;
}

static int make_cluster(const struct server *server)
{
    int status = 0;
    pid_t pid = spawn(server, "initdb -D data -U postgres -A trust --no-sync --locale=C.UTF-8");
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -EIO;
}

static int start_postgres(struct server *server)
{
    char arguments[PATH_SIZE + 96];
    (void)snprintf(arguments, sizeof(arguments),
                   "postgres -D data -k %s -h '' -c fsync=off -c max_connections=10", server->dir);
    pid_t pid = spawn(server, arguments);
    server->pid = pid > 0 ? pid : 0;
    return pid > 0 ? 0 : -errno;
}

static int await_postgres(const struct server *server)
{
    for (int i = 0; i < START_TRIES; i++) {
        if (PQping(server->conninfo) == PQPING_OK) {
            return 0;
        }
        if (waitpid(server->pid, NULL, WNOHANG) != 0) {
            return -ECHILD;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return -ETIMEDOUT;
}

int server_start(const char *bin, struct server **ret_server, struct error *error)
{
    struct server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    int rc = find_bin(bin, server->bin);
    if (rc != 0) {
        error_set(error, "no PostgreSQL server here; on Debian: apt-get install postgresql");
        free(server);
        return rc;
    }
    rc = make_folder(server);
    (void)snprintf(server->conninfo, sizeof(server->conninfo),
                   "host=%s user=postgres dbname=postgres", server->dir);
    rc = rc != 0 ? rc : make_cluster(server);
    rc = rc != 0 ? rc : start_postgres(server);
    rc = rc != 0 ? rc : await_postgres(server);
    if (rc != 0) {
        error_set(error, "PostgreSQL did not start in %s: %s", server->dir, strerror(-rc));
        server_stop(server);
        return rc;
    }
    *ret_server = server;
    return 0;
}

const char *server_conninfo(const struct server *server)
{
    return server->conninfo;
}

void server_stop(struct server *server)
{
    if (server == NULL) {
        return;
    }
    if (server->pid > 0) {
        (void)kill(server->pid, SIGINT);
        (void)waitpid(server->pid, NULL, 0);
    }
    if (server->dir[0] != '\0') {
        pid_t pid = fork();
        if (pid == 0) {
            (void)execlp("rm", "rm", "-rf", "--", server->dir, (char *)NULL);
            _exit(127);
        }
        (void)waitpid(pid, NULL, 0);
    }
    free(server);
}
