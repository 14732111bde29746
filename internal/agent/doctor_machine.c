/* Our own side: an agent that runs, its port, the spool's folder, descriptors. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/doctor.h"
#include "agent/table.h"
#include "base/str.h"
#include "base/timestamp.h"
#include "web/httpd.h"

#define ANSWER_LIMIT_NS (3 * NS_PER_SECOND)
#define FILES_BESIDES 64 /* what the agent opens besides one socket per followed container */

/* ---- the agent and its port ---- */

static void report_sinks(struct doctor *doctor, const struct json *status)
{
    for (const struct json *sink = json_first(json_get(status, "sinks")); sink != NULL;
         sink = json_next(sink)) {
        const char *name = json_get_string(sink, "name");
        const char *state = json_get_string(sink, "state");
        struct doctor_topic topic = {"sink", name != NULL ? name : "?"};
        char lines[TABLE_TEXT_SIZE];
        int64_t dead = json_get_int(sink, "dead_letters");
        const char *problem = json_get_string(sink, "problem");
        if (state == NULL || strcmp(state, "running") != 0) {
            doctor_add(doctor, DOCTOR_BAD, &topic, "%s; %s lines wait; %.300s",
                       state != NULL ? state : "no state",
                       human_count(json_get_int(sink, "lag_lines"), lines),
                       problem != NULL ? problem : "");
            doctor_mend(doctor, "%s",
                        state != NULL && strcmp(state, "denied") == 0
                            ? "look at its url, tenant and secrets; nothing is dropped meanwhile"
                            : "see whether its server runs and takes lines; nothing is dropped "
                              "meanwhile");
        } else if (dead > 0) {
            doctor_add(doctor, DOCTOR_WARN, &topic, "%s lines were refused and are dead letters",
                       human_count(dead, lines));
            doctor_mend(doctor, "the dead-letter file says why; log_capturer replay sends them "
                                "again");
        } else {
            doctor_add(doctor, DOCTOR_OK, &topic, "%s, %s lines behind", state,
                       human_count(json_get_int(sink, "lag_lines"), lines));
        }
    }
}

static void report_agent(struct doctor *doctor, const struct json *status)
{
    struct doctor_topic topic = {"agent", ""};
    const char *version = json_get_string(status, "version");
    const char *reason = json_string(json_first(json_get(status, "waiting_for")));
    doctor->agent_runs = true;
    doctor->agent_max_fds = json_get_int(json_get(status, "process"), "max_fds");
    if (json_get_bool(status, "ready")) {
        doctor_add(doctor, DOCTOR_OK, &topic, "version %s runs at %s and is ready",
                   version != NULL ? version : "?", doctor->url);
    } else {
        doctor_add(doctor, DOCTOR_BAD, &topic, "version %s runs at %s and is not ready: %.300s",
                   version != NULL ? version : "?", doctor->url, reason != NULL ? reason : "?");
        doctor_mend(doctor, "see the lines below");
    }
    report_sinks(doctor, status);
}

/* Nobody answers: can we listen there? */
static void try_port(struct doctor *doctor)
{
    struct doctor_topic topic = {"port", ""};
    struct error error;
    struct loop *loop = NULL;
    struct metrics *metrics = NULL;
    struct httpd *httpd = NULL;
    static const struct httpd_route no_routes[] = {{.path = NULL}};
    const char *listen_on = doctor->config->listen[0] != '\0' ? doctor->config->listen
                                                              : "127.0.0.1:8001";
    int rc = loop_create(clock_real(), &loop);
    rc = rc != 0 ? rc : metrics_create(&metrics);
    error_set(&error, "out of memory");
    rc = rc != 0
             ? rc
             : httpd_create(
                   &(struct httpd_options){
                       .loop = loop, .metrics = metrics, .listen = listen_on, .routes = no_routes},
                   &httpd, &error);
    if (rc == 0) {
        doctor_add(doctor, DOCTOR_OK, &topic, "no agent runs; %s is free", listen_on);
    } else {
        doctor_add(doctor, DOCTOR_BAD, &topic, "%.400s", error.text);
        doctor_mend(doctor, "http.listen or --listen takes another port (ss -ltnp shows who has "
                            "this one)");
    }
    httpd_destroy(httpd);
    metrics_destroy(metrics);
    loop_destroy(loop);
}

void doctor_check_agent(struct doctor *doctor)
{
    struct doctor_topic topic = {"port", ""};
    struct client client = {0};
    struct client_answer answer = {0};
    struct json *status = NULL;
    struct error error;
    struct client_request request = {"/api/v1/status", ANSWER_LIMIT_NS, 1U << 20U};
    int rc = client_init(&client, doctor->url, &error);
    rc = rc != 0 ? rc : client_call(&client, &request, &answer);
    if (rc == 0 && answer.status == 200 &&
        json_parse(answer.body, answer.body_bytes, &status, NULL) == 0 &&
        json_get_string(status, "version") != NULL) {
        report_agent(doctor, status);
    } else if (answer.end == HTTP_REFUSED) {
        try_port(doctor);
    } else {
        doctor_add(doctor, DOCTOR_BAD, &topic,
                   "at %s something else answers, or an agent that "
                   "hangs: %s",
                   doctor->url, rc != 0 ? answer.text : "no status of an agent");
        doctor_mend(doctor, "http.listen or --listen takes another port (ss -ltnp shows who has "
                            "this one)");
    }
    json_destroy(status);
    free(answer.body);
    client_finish(&client);
}

/* ---- the spool ---- */

/* The nearest folder above that is there: where the spool's would be made. */
static void existing_parent(const char *dir, char *ret_path, size_t path_bytes)
{
    (void)str_copy(ret_path, path_bytes, dir);
    struct stat status;
    while (stat(ret_path, &status) != 0) {
        char *slash = strrchr(ret_path, '/');
        if (slash == NULL || slash == ret_path) {
            (void)str_copy(ret_path, path_bytes, slash == NULL ? "." : "/");
            return;
        }
        *slash = '\0';
    }
}

/* Of the files in a folder. */
static uint64_t folder_bytes(const char *dir)
{
    DIR *folder = opendir(dir);
    uint64_t bytes = 0;
    struct stat status;
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        if (fstatat(dirfd(folder), entry->d_name, &status, 0) == 0 && S_ISREG(status.st_mode)) {
            bytes += (uint64_t)status.st_size;
        }
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    return bytes;
}

static void check_space(struct doctor *doctor, const char *path)
{
    struct doctor_topic topic = {"disk space", ""};
    struct statvfs disk;
    char limit[TABLE_TEXT_SIZE];
    char room[TABLE_TEXT_SIZE];
    if (statvfs(path, &disk) != 0) {
        return;
    }
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    uint64_t used = folder_bytes(doctor->config->spool_dir);
    uint64_t wanted = doctor->config->limit_bytes > used ? doctor->config->limit_bytes - used : 0;
    (void)human_bytes((int64_t)doctor->config->limit_bytes, limit);
    (void)human_bytes((int64_t)free_bytes, room);
    if (free_bytes >= wanted) {
        doctor_add(doctor, DOCTOR_OK, &topic, "%s free, spool.limit is %s", room, limit);
        return;
    }
    doctor_add(doctor, DOCTOR_WARN, &topic, "%s free at %s, and the spool may grow to %s", room,
               path, limit);
    doctor_mend(doctor, "a full disk stops capture until there is room: free some, or set "
                        "spool.limit lower (--set spool.limit=...)");
}

void doctor_check_spool(struct doctor *doctor)
{
    struct doctor_topic topic = {"spool", ""};
    char path[4096];
    struct stat status;
    const char *dir = doctor->config->spool_dir;
    existing_parent(dir, path, sizeof(path));
    bool made = strcmp(path, dir) == 0;
    if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode)) {
        doctor_add(doctor, DOCTOR_BAD, &topic, "%s is no folder", path);
        doctor_mend(doctor, "--data-dir or spool.dir names another one");
        return;
    }
    if (access(path, W_OK | X_OK) != 0) {
        int rc = errno;
        doctor_add(doctor, DOCTOR_BAD, &topic, "%s can't be written by user %u: %s", path,
                   (unsigned)geteuid(), strerror(rc));
        doctor_mend(doctor, "install -d -o %u %s, a writable volume, or --data-dir",
                    (unsigned)geteuid(), dir);
        return;
    }
    doctor_add(doctor, DOCTOR_OK, &topic, "%s %s", dir, made ? "is writable" : "can be made");
    check_space(doctor, path);
}

/* ---- descriptors ---- */

void doctor_check_files(struct doctor *doctor)
{
    struct doctor_topic topic = {"open files", ""};
    struct rlimit limit = {0};
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    uint64_t most = doctor->agent_runs && doctor->agent_max_fds > 0
                        ? (uint64_t)doctor->agent_max_fds
                        : (uint64_t)limit.rlim_max; /* the agent raises it to that */
    uint64_t wanted = doctor->streams + FILES_BESIDES;
    bool fine = most >= wanted + wanted / 4;
    doctor_add(doctor, fine ? DOCTOR_OK : DOCTOR_BAD, &topic, "%s %llu, and %zu containers run",
               doctor->agent_runs ? "the agent may open" : "we may open", (unsigned long long)most,
               doctor->streams);
    if (!fine) {
        doctor_mend(doctor,
                    "LimitNOFILE=%llu in its systemd unit, --ulimit nofile=%llu for a "
                    "container",
                    (unsigned long long)wanted * 2, (unsigned long long)wanted * 2);
    }
}
