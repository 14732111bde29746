/* What stands between us and a daemon. Requests have no version in their path: the daemon answers
 * in its own. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/doctor.h"
#include "base/str.h"
#include "base/timestamp.h"

#define CALL_LIMIT_NS (10 * NS_PER_SECOND)
#define BODY_LIMIT_BYTES (64U * 1024U * 1024U)
#define CLOCK_LIMIT_NS (2 * NS_PER_SECOND)
#define LEAST_MINOR 40 /* of API 1 */

struct json *doctor_get(struct client *client, const char *path, struct client_answer *ret_answer)
{
    struct client_request request = {path, CALL_LIMIT_NS, BODY_LIMIT_BYTES};
    struct json *root = NULL;
    int rc = client_call(client, &request, ret_answer);
    if (rc == 0 && ret_answer->status == 200) {
        rc = json_parse(ret_answer->body, ret_answer->body_bytes, &root, NULL);
        if (rc != 0) {
            (void)str_copy(ret_answer->text, sizeof(ret_answer->text), "the answer is no JSON");
        }
    } else if (rc == 0) {
        (void)snprintf(ret_answer->text, sizeof(ret_answer->text), "answered %d: %.200s",
                       ret_answer->status, ret_answer->body);
        ret_answer->text[strcspn(ret_answer->text, "\r\n")] = '\0';
    }
    free(ret_answer->body);
    ret_answer->body = NULL;
    return root;
}

/* ---- the socket ---- */

static void user_name(char *ret_name, size_t name_bytes)
{
    char storage[1024];
    struct passwd entry;
    struct passwd *found = NULL;
    (void)snprintf(ret_name, name_bytes, "%u", (unsigned)geteuid());
    if (getpwuid_r(geteuid(), &entry, storage, sizeof(storage), &found) == 0 && found != NULL) {
        (void)str_copy(ret_name, name_bytes, found->pw_name);
    }
}

static void group_name(gid_t gid, char *ret_name, size_t name_bytes)
{
    char storage[1024];
    struct group entry;
    struct group *found = NULL;
    (void)str_copy(ret_name, name_bytes, "without a name here");
    if (getgrgid_r(gid, &entry, storage, sizeof(storage), &found) == 0 && found != NULL) {
        (void)str_copy(ret_name, name_bytes, found->gr_name);
    }
}

static bool check_socket(struct doctor *doctor, const struct doctor_topic *topic, const char *path)
{
    struct stat status;
    char user[64];
    char group[64];
    if (stat(path, &status) != 0) {
        int rc = errno;
        doctor_add(doctor, DOCTOR_BAD, topic, "%s: %s", path, strerror(rc));
        doctor_mend(doctor,
                    "start dockerd (systemctl start docker), or name its socket with "
                    "--docker; in a container, mount it with -v %s:%s",
                    path, path);
        return false;
    }
    if (!S_ISSOCK(status.st_mode)) {
        doctor_add(doctor, DOCTOR_BAD, topic, "%s is there and is no socket", path);
        doctor_mend(doctor, "%s",
                    S_ISDIR(status.st_mode)
                        ? "a container was begun with -v before dockerd made the socket, and that "
                          "made a folder: remove it and restart dockerd"
                        : "name the daemon's socket with --docker");
        return false;
    }
    user_name(user, sizeof(user));
    group_name(status.st_gid, group, sizeof(group));
    if (faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) != 0) {
        doctor_add(doctor, DOCTOR_BAD, topic,
                   "%s: no permission for user %s; it needs group %s "
                   "(gid %u)",
                   path, user, group, (unsigned)status.st_gid);
        doctor_mend(doctor, "usermod -aG %u %s and log in again; a container: --group-add %u",
                    (unsigned)status.st_gid, user, (unsigned)status.st_gid);
        return false;
    }
    doctor_add(doctor, DOCTOR_OK, topic, "%s, mode %04o, group %s (gid %u)", path,
               (unsigned)(status.st_mode & 07777), group, (unsigned)status.st_gid);
    return true;
}

/* ---- the daemon ---- */

static bool is_supported(const char *api_version)
{
    uint64_t minor;
    return str_starts_with(api_version, "1.") && str_parse_u64(api_version + 2, &minor) == 0 &&
           minor >= LEAST_MINOR;
}

static bool check_answer(struct doctor *doctor, const char *name, struct client *client)
{
    struct doctor_topic topic = {"daemon", name};
    struct client_answer answer;
    struct client_request request = {"/_ping", CALL_LIMIT_NS, BODY_LIMIT_BYTES};
    int rc = client_call(client, &request, &answer);
    free(answer.body);
    if (rc != 0 || answer.status != 200) {
        char status[32];
        (void)snprintf(status, sizeof(status), "/_ping answers %d", answer.status);
        doctor_add(doctor, DOCTOR_BAD, &topic, "%s: %s", client->url,
                   rc != 0 ? answer.text : status);
        doctor_mend(doctor, "%s",
                    answer.status == 403 ? "a proxy refuses /_ping: allow it there (PING=1)"
                                         : "see whether dockerd runs and listens there "
                                           "(systemctl status docker); tls needs https:// or a ca");
        return false;
    }
    if (!is_supported(answer.api_version)) {
        doctor_add(doctor, DOCTOR_BAD, &topic, "%s speaks API '%s'; 1.%d is the least",
                   answer.server[0] != '\0' ? answer.server : client->url, answer.api_version,
                   LEAST_MINOR);
        doctor_mend(doctor, "Docker Engine 19.03 or later, or podman 4");
        return false;
    }
    doctor_add(doctor, DOCTOR_OK, &topic, "%s, API %s", answer.server, answer.api_version);
    topic.check = "proxy";
    if (answer.via[0] != '\0') {
        doctor_add(doctor, DOCTOR_WARN, &topic, "answers come through a proxy: Via: %s",
                   answer.via);
    } else if (!str_starts_with(answer.server, "Docker/") &&
               !str_starts_with(answer.server, "Libpod/")) {
        doctor_add(doctor, DOCTOR_WARN, &topic, "'%s' answers, which is neither Docker nor podman",
                   answer.server);
    } else {
        return true;
    }
    doctor_mend(doctor, "its time-outs must be longer than a container's silence; see below");
    return true;
}

/* dockerd answers an unknown path with 404 and JSON. A proxy with a list of what it lets through
 * (HAProxy in docker-socket-proxy) answers it itself. */
static void check_proxy(struct doctor *doctor, const char *name, struct client *client)
{
    struct doctor_topic topic = {"proxy", name};
    struct client_answer answer;
    struct client_request request = {"/_log_capturer_doctor", CALL_LIMIT_NS, BODY_LIMIT_BYTES};
    int rc = client_call(client, &request, &answer);
    bool own = rc == 0 && answer.body != NULL && answer.status == 404 &&
               strchr(answer.body, '{') != NULL;
    bool podman = rc == 0 && answer.status == 404;
    if (own || podman) {
        doctor_add(doctor, DOCTOR_OK, &topic, "none that answers by itself");
    } else {
        doctor_add(doctor, DOCTOR_WARN, &topic,
                   "a proxy lets only some requests through (it answers an unknown path with %d)",
                   answer.status);
        doctor_mend(
            doctor,
            "let it pass /_ping, /events and /containers, and raise its time-outs (HAProxy: "
            "client, server, tunnel) over the longest silence of a container; a follow "
            "that it cuts is resumed without loss");
    }
    free(answer.body);
}

static void check_clock(struct doctor *doctor, const char *name, const struct json *info)
{
    struct doctor_topic topic = {"clock", name};
    const char *text = json_get_string(info, "SystemTime");
    int64_t theirs;
    struct timespec now;
    if (text == NULL || timestamp_parse(text, strlen(text), &theirs) < 0) {
        return;
    }
    (void)clock_gettime(CLOCK_REALTIME, &now);
    int64_t difference = theirs - ((int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec);
    bool fine = difference < CLOCK_LIMIT_NS && difference > -CLOCK_LIMIT_NS;
    doctor_add(doctor, fine ? DOCTOR_OK : DOCTOR_BAD, &topic,
               "the daemon's differs from ours by %.3f s", (double)difference / 1e9);
    if (!fine) {
        doctor_mend(doctor, "lines carry the daemon's time: let both machines keep it by NTP "
                            "(systemctl enable --now systemd-timesyncd)");
    }
}

/* The requests that the agent makes and a proxy may refuse. */
static void check_events(struct doctor *doctor, const char *name, struct client *client)
{
    struct doctor_topic topic = {"events", name};
    struct client_answer answer;
    struct client_request request = {"/events?since=1&until=1", CALL_LIMIT_NS, BODY_LIMIT_BYTES};
    int rc = client_call(client, &request, &answer);
    if (rc == 0 && answer.status == 200) {
        doctor_add(doctor, DOCTOR_OK, &topic, "can be heard");
    } else {
        doctor_add(doctor, DOCTOR_BAD, &topic, "/events: %s%d", rc != 0 ? answer.text : "answers ",
                   answer.status);
        doctor_mend(doctor, "a proxy must let /events pass (EVENTS=1)");
    }
    free(answer.body);
}

static void check_list(struct doctor *doctor, const char *name, struct client *client)
{
    struct doctor_topic topic = {"containers", name};
    struct client_answer answer;
    struct json *list = doctor_get(client, "/containers/json?all=1", &answer);
    if (list == NULL) {
        doctor_add(doctor, DOCTOR_BAD, &topic, "can't be listed: %s", answer.text);
        doctor_mend(doctor, "a proxy must let /containers pass (CONTAINERS=1)");
        return;
    }
    doctor_check_containers(doctor, client, name, list);
    json_destroy(list);
}

static void check_connected(struct doctor *doctor, const char *name, struct client *client)
{
    struct client_answer answer;
    if (!check_answer(doctor, name, client)) {
        return;
    }
    check_proxy(doctor, name, client);
    check_events(doctor, name, client);
    struct json *info = doctor_get(client, "/info", &answer); /* the agent does not need it */
    check_clock(doctor, name, info);
    json_destroy(info);
    check_list(doctor, name, client);
}

void doctor_check_daemon(struct doctor *doctor, const struct config_daemon *daemon)
{
    struct doctor_topic topic = {"socket", daemon->name};
    struct endpoint endpoint;
    struct endpoint_tls tls = {.insecure = daemon->insecure};
    struct client client = {0};
    struct error error;
    (void)str_copy(tls.ca, sizeof(tls.ca), daemon->ca != NULL ? daemon->ca : "");
    (void)str_copy(tls.cert, sizeof(tls.cert), daemon->cert != NULL ? daemon->cert : "");
    (void)str_copy(tls.key, sizeof(tls.key), daemon->key != NULL ? daemon->key : "");
    if (endpoint_parse(daemon->url, &tls, &endpoint, &error) != 0) {
        doctor_add(doctor, DOCTOR_BAD, &topic, "%s", error.text);
        return;
    }
    if (endpoint.unix_path[0] != '\0' && !check_socket(doctor, &topic, endpoint.unix_path)) {
        return;
    }
    if (endpoint.unix_path[0] == '\0' && !endpoint.use_tls) {
        topic.check = "encryption";
        doctor_add(doctor, DOCTOR_WARN, &topic, "%s is neither encrypted nor authenticated",
                   daemon->url);
        doctor_mend(doctor, "whoever reaches that port is root there: use TLS with client "
                            "certificates, or a network of its own");
    }
    if (client_init_endpoint(&client, &endpoint, &error) == 0) {
        check_connected(doctor, daemon->name, &client);
    } else {
        doctor->no_memory = true;
    }
    client_finish(&client);
}
