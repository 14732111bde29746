/*
 * Starting the program, and what it does: list by label, remove each, list networks, remove each. Where the
 * daemon can't be reached it tries again until its time is over.
 */
#include "containers/reaper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "base/timestamp.h"
#include "containers/owner.h"
#include "docker/docker_containers.h"
#include "docker/docker_images.h"
#include "docker/docker_lifecycle.h"
#include "loop/timer.h"

#define RETRY_NS (200 * NS_PER_MS)
#define PATH_SIZE 4096

extern char **environ;

/* ---- the process ---- */

struct reaper {
    pid_t pid;
    int pipe_fd;
};

/* Beside this program. */
static bool find_beside(char *ret_path, size_t path_bytes)
{
    char own[PATH_SIZE];
    ssize_t n = readlink("/proc/self/exe", own, sizeof(own) - 1);
    if (n <= 0) {
        return false;
    }
    own[n] = '\0';
    char *slash = strrchr(own, '/');
    *slash = '\0';
    int size = snprintf(ret_path, path_bytes, "%s/container_pool", own);
    return size > 0 && (size_t)size < path_bytes && access(ret_path, X_OK) == 0;
}

static int spawn(const char *program, const char *session, const char *docker_url, int stdin_fd,
                 pid_t *ret_pid)
{
    char name[] = "container_pool";
    char verb[] = "reap";
    char session_flag[64];
    char docker_flag[512];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    (void)snprintf(session_flag, sizeof(session_flag), "--session=%s", session);
    (void)snprintf(docker_flag, sizeof(docker_flag), "--docker=%s", docker_url);
    char *const arguments[] = {name, verb, session_flag, docker_flag, NULL};
    (void)sigemptyset(&none);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, stdin_fd, STDIN_FILENO);
    /* Who reads what this process writes must not wait for the reaper's end. */
    (void)posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    (void)posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    (void)posix_spawnattr_init(&attributes);
    /* A session of its own: what ends this one's process group must not end it. */
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    int rc = -posix_spawnp(ret_pid, program, &actions, &attributes, arguments, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return rc;
}

int reaper_start(const char *program, const char *session, const char *docker_url,
                 struct reaper **ret_reaper, struct error *error)
{
    char beside[PATH_SIZE];
    int fds[2];
    if (program == NULL) {
        program = find_beside(beside, sizeof(beside)) ? beside : "container_pool";
    }
    struct reaper *reaper = calloc(1, sizeof(*reaper));
    if (reaper == NULL || pipe2(fds, O_CLOEXEC) != 0) {
        int rc = reaper == NULL ? -ENOMEM : -errno;
        free(reaper);
        error_set(error, "no pipe for the reaper: %s", strerror(-rc));
        return rc;
    }
    int rc = spawn(program, session, docker_url, fds[0], &reaper->pid);
    (void)close(fds[0]);
    if (rc != 0) {
        (void)close(fds[1]);
        free(reaper);
        error_set(error,
                  "the reaper %s can't be started: %s; it is the program container_pool, beside "
                  "this one or in PATH, or named by the option `reaper`",
                  program, strerror(-rc));
        return rc;
    }
    reaper->pipe_fd = fds[1];
    *ret_reaper = reaper;
    return 0;
}

void reaper_stop(struct reaper *reaper, bool nothing_left)
{
    if (reaper != NULL) {
        if (nothing_left) {
            (void)kill(reaper->pid, SIGKILL);
        }
        (void)close(reaper->pipe_fd);
        (void)waitpid(reaper->pid, NULL, 0);
        free(reaper);
    }
}

/* ---- reaping ---- */

struct reaping {
    struct reaping_options options;
    struct docker_client *docker;
    struct loop_timer timer; /* the next attempt */
    int64_t deadline_ns;
    bool troubled; /* on_trouble was called */
    size_t under_way, removed, left;
    unsigned inside; /* answers that are being handled */
    bool networks;   /* containers are through */
    bool done;
    bool destroyed; /* freed when the last call has come back */
    bool pinged;
    struct error text;
};

struct removal {
    struct reaping *reaping;
    char name[128];
};

static void begin(struct reaping *reaping);

static void release(struct reaping *reaping)
{
    if (reaping->destroyed && reaping->under_way == 0 && reaping->inside == 0) {
        docker_client_destroy(reaping->docker);
        free(reaping);
    }
}

/* Around the handling of an answer. */
static void enter(struct reaping *reaping)
{
    reaping->under_way--;
    reaping->inside++;
}

static void leave(struct reaping *reaping)
{
    reaping->inside--;
    release(reaping);
}

static void finish(struct reaping *reaping)
{
    if (!reaping->done && !reaping->destroyed) {
        reaping->done = true;
        loop_timer_disarm(&reaping->timer);
        reaping->options.on_done(reaping->removed, reaping->left,
                                 reaping->left > 0 ? reaping->text.text : "",
                                 reaping->options.data);
    }
}

/* Something could not be done; again, while there is time. */
static void try_again(struct reaping *reaping, const char *text)
{
    error_set(&reaping->text, "%s", text);
    if (reaping->destroyed) {
        return;
    }
    if (loop_now_ns(reaping->options.loop) >= reaping->deadline_ns) {
        reaping->left = reaping->left > 0 ? reaping->left : 1;
        finish(reaping);
    } else {
        if (reaping->options.on_trouble != NULL && !reaping->troubled) {
            reaping->options.on_trouble(text, reaping->options.data);
        }
        reaping->troubled = true;
        loop_timer_arm(&reaping->timer, RETRY_NS);
    }
}

static void step_is_over(struct reaping *reaping)
{
    if (reaping->under_way > 0 || reaping->destroyed) {
        return;
    }
    if (reaping->left > 0) {
        try_again(reaping, reaping->text.text);
    } else if (!reaping->networks) {
        reaping->networks = true;
        begin(reaping);
    } else {
        finish(reaping);
    }
}

static void handle_removed(const struct docker_outcome *outcome, void *data)
{
    struct removal *removal = data;
    struct reaping *reaping = removal->reaping;
    enter(reaping);
    if (outcome->verdict == DOCKER_OK || outcome->verdict == DOCKER_NOT_FOUND) {
        reaping->removed += outcome->verdict == DOCKER_OK;
        if (reaping->options.on_removed != NULL && !reaping->destroyed) {
            reaping->options.on_removed(removal->name, reaping->options.data);
        }
    } else { /* another one may be removing it; the next list will tell */
        reaping->left++;
        error_set(&reaping->text, "%s", outcome->text);
    }
    free(removal);
    step_is_over(reaping);
    leave(reaping);
}

static void remove_one(struct reaping *reaping, const char *id, const char *name)
{
    struct removal *removal = calloc(1, sizeof(*removal));
    int rc = -ENOMEM;
    if (removal != NULL) {
        removal->reaping = reaping;
        (void)str_copy(removal->name, sizeof(removal->name), name);
        rc = reaping->networks
                 ? docker_network_remove(reaping->docker, name, handle_removed, removal)
                 : docker_remove(reaping->docker, id, handle_removed, removal);
    }
    if (rc != 0) {
        free(removal);
        reaping->left++;
        error_set(&reaping->text, "out of memory");
    } else {
        reaping->under_way++;
    }
}

/* Of a session that nobody keeps any more, or whichever is asked for. */
static bool is_wanted(const struct reaping *reaping, const struct docker_container *container)
{
    if (reaping->options.session != NULL || reaping->options.all) {
        return true;
    }
    for (size_t i = 0; i < container->label_count; i++) {
        if (strcmp(container->labels[i].key, OWNER_LABEL_OWNER) == 0) {
            return owner_look(container->labels[i].value) == OWNER_GONE;
        }
    }
    return false;
}

static void handle_list(const struct docker_outcome *outcome,
                        const struct docker_container *containers, size_t count, void *data)
{
    struct reaping *reaping = data;
    enter(reaping);
    if (outcome->verdict != DOCKER_OK) {
        try_again(reaping, outcome->text);
    } else if (!reaping->destroyed) {
        reaping->left = 0;
        for (size_t i = 0; i < count; i++) {
            if (is_wanted(reaping, &containers[i])) {
                remove_one(reaping, containers[i].id, containers[i].name);
            }
        }
        step_is_over(reaping);
    }
    leave(reaping);
}

static void handle_networks(const struct docker_outcome *outcome, const char *const *names,
                            size_t count, void *data)
{
    struct reaping *reaping = data;
    enter(reaping);
    if (outcome->verdict != DOCKER_OK) {
        try_again(reaping, outcome->text);
    } else if (!reaping->destroyed) {
        reaping->left = 0;
        bool any = reaping->options.session != NULL || reaping->options.all;
        for (size_t i = 0; any && i < count; i++) {
            remove_one(reaping, NULL, names[i]);
        }
        step_is_over(reaping);
    }
    leave(reaping);
}

static void list(struct reaping *reaping)
{
    char label[128];
    const char *session = reaping->options.session;
    (void)snprintf(label, sizeof(label), "%s%s%s", OWNER_LABEL_SESSION, session != NULL ? "=" : "",
                   session != NULL ? session : "");
    int rc = reaping->networks
                 ? docker_network_list(reaping->docker, label, handle_networks, reaping)
                 : docker_list_labelled(reaping->docker, label, handle_list, reaping);
    if (rc != 0) {
        try_again(reaping, "out of memory");
    } else {
        reaping->under_way++;
    }
}

static void handle_ping(const struct docker_outcome *outcome, void *data)
{
    struct reaping *reaping = data;
    enter(reaping);
    if (outcome->verdict != DOCKER_OK) {
        try_again(reaping, outcome->text);
    } else if (!reaping->destroyed) {
        reaping->pinged = true;
        list(reaping);
    }
    leave(reaping);
}

static void begin(struct reaping *reaping)
{
    if (reaping->pinged) {
        list(reaping);
    } else if (docker_ping(reaping->docker, handle_ping, reaping) == 0) {
        reaping->under_way++;
    } else {
        try_again(reaping, "out of memory");
    }
}

static void handle_timer(struct loop_timer *timer, void *data)
{
    (void)timer;
    begin(data);
}

int reaping_start(const struct reaping_options *options, struct reaping **ret_reaping,
                  struct error *error)
{
    struct endpoint endpoint;
    int rc = endpoint_parse(options->docker_url, NULL, &endpoint, error);
    struct reaping *reaping = rc == 0 ? calloc(1, sizeof(*reaping)) : NULL;
    if (rc == 0 && reaping != NULL) {
        rc = docker_client_create(options->http, "reaper", &endpoint, &reaping->docker);
    } else if (rc == 0) {
        rc = -ENOMEM;
    }
    if (rc != 0) {
        if (rc == -ENOMEM) {
            error_set(error, "out of memory");
        }
        free(reaping);
        return rc;
    }
    reaping->options = *options;
    reaping->deadline_ns = loop_now_ns(options->loop) + options->timeout_ns;
    loop_timer_init(options->loop, &reaping->timer, handle_timer, reaping);
    loop_timer_arm(&reaping->timer, 0);
    *ret_reaping = reaping;
    return 0;
}

void reaping_destroy(struct reaping *reaping)
{
    if (reaping != NULL) {
        reaping->destroyed = true;
        loop_timer_disarm(&reaping->timer);
        release(reaping);
    }
}
