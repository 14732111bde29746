/* doctor: goes through the checks and shows what they found, in their order. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/doctor.h"
#include "agent/flags.h"
#include "agent/table.h"
#include "base/str.h"

struct doctor_flags {
    struct client_flags client;
    bool json;
};

static int set_output(void *target, const char *value)
{
    struct doctor_flags *flags = target;
    flags->json = strcmp(value, "json") == 0;
    return flags->json || strcmp(value, "text") == 0 ? 0 : -1;
}

static const struct flag_row doctor_flags[] = {{.name = "output",
                                                .letter = 'o',
                                                .value = "FORMAT",
                                                .choices = "text|json",
                                                .help = "text or json (default: text)",
                                                .set = set_output},
                                               CLIENT_URL_FLAG,
                                               {.name = NULL}};

static int run_doctor(const struct command_line *line);

const struct command doctor_command = {
    .name = "doctor",
    .summary = "look for what keeps lines from being captured",
    .description = "Looks at the daemons, the log drivers and rotation of their containers, the "
                   "spool's folder, open files, the port, and an agent that runs, and says what "
                   "mends what it finds. It changes nothing. To see the present rates it reads the "
                   "last 1000 lines of containers whose logs are rotated.",
    .flags = doctor_flags,
    .settings = true,
    .exit_status = "0 all fine, 1 something to mend, 2 usage",
    .run = run_doctor,
};

/* ---- findings ---- */

void doctor_add(struct doctor *doctor, enum doctor_verdict verdict,
                const struct doctor_topic *topic, const char *format, ...)
{
    struct doctor_finding *findings = realloc(doctor->findings,
                                              (doctor->count + 1) * sizeof(*findings));
    if (findings == NULL) {
        doctor->no_memory = true;
        return;
    }
    doctor->findings = findings;
    struct doctor_finding *finding = &findings[doctor->count++];
    *finding = (struct doctor_finding){.verdict = verdict};
    (void)str_copy(finding->check, sizeof(finding->check), topic->check);
    (void)str_copy(finding->subject, sizeof(finding->subject), topic->subject);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(finding->text.text, sizeof(finding->text.text), format, args);
    va_end(args);
}

void doctor_mend(struct doctor *doctor, const char *format, ...)
{
    if (doctor->count > 0) {
        struct error *mend = &doctor->findings[doctor->count - 1].mend;
        va_list args;
        va_start(args, format);
        (void)vsnprintf(mend->text, sizeof(mend->text), format, args);
        va_end(args);
    }
}

static size_t count_of(const struct doctor *doctor, enum doctor_verdict verdict)
{
    size_t count = 0;
    for (size_t i = 0; i < doctor->count; i++) {
        count += doctor->findings[i].verdict == verdict;
    }
    return count;
}

/* ---- showing ---- */

static const char *const verdict_names[] = {"ok", "warn", "bad"};

static int put_text(const struct doctor *doctor, struct buf *out)
{
    static const enum tone tones[] = {TONE_GOOD, TONE_WARN, TONE_BAD};
    struct table table;
    table_init(&table, 4, "llll");
    for (size_t i = 0; i < doctor->count; i++) {
        const struct doctor_finding *finding = &doctor->findings[i];
        table_add_row(&table);
        table_put(&table, 0, tones[finding->verdict], verdict_names[finding->verdict]);
        table_put(&table, 1, TONE_FAINT, finding->subject);
        table_put(&table, 2, TONE_PLAIN, finding->check);
        table_put(&table, 3, TONE_PLAIN, finding->text.text);
        if (finding->mend.text[0] != '\0') {
            char mend[sizeof(finding->mend.text) + 8];
            (void)snprintf(mend, sizeof(mend), "mend: %s", finding->mend.text);
            table_add_row(&table);
            table_put(&table, 3, TONE_STRONG, mend);
        }
    }
    int rc = table_write(&table, tone_wanted(STDOUT_FILENO), out);
    table_finish(&table);
    return rc != 0 ? rc
                   : buf_printf(out, "\n  %zu fine, %zu to look at, %zu bad\n",
                                count_of(doctor, DOCTOR_OK), count_of(doctor, DOCTOR_WARN),
                                count_of(doctor, DOCTOR_BAD));
}

static int put_json(const struct doctor *doctor, struct buf *out)
{
    struct json_writer writer;
    json_writer_init(&writer, out);
    json_open(&writer, NULL, '{');
    json_put_bool(&writer, "fine", count_of(doctor, DOCTOR_OK) == doctor->count);
    json_open(&writer, "findings", '[');
    for (size_t i = 0; i < doctor->count; i++) {
        const struct doctor_finding *finding = &doctor->findings[i];
        json_open(&writer, NULL, '{');
        json_put_string(&writer, "verdict", verdict_names[finding->verdict]);
        json_put_string(&writer, "check", finding->check);
        json_put_string(&writer, "subject", finding->subject);
        json_put_string(&writer, "text", finding->text.text);
        json_put_string(&writer, "mend", finding->mend.text[0] != '\0' ? finding->mend.text : NULL);
        json_close(&writer, '}');
    }
    json_close(&writer, ']');
    json_close(&writer, '}');
    return writer.rc != 0 ? writer.rc : buf_append(out, "\n", 1);
}

/* ---- the command ---- */

static int examine(const struct config *config, const char *url, bool json)
{
    struct doctor doctor = {.config = config, .url = url};
    struct buf out;
    buf_init(&out, 0);
    doctor_check_agent(&doctor);
    for (size_t i = 0; i < config->daemon_count; i++) {
        doctor_check_daemon(&doctor, &config->daemons[i]);
    }
    doctor_check_spool(&doctor);
    doctor_check_files(&doctor);
    int rc = json ? put_json(&doctor, &out) : put_text(&doctor, &out);
    rc = rc != 0 ? rc : command_write(&out);
    bool fine = count_of(&doctor, DOCTOR_OK) == doctor.count && !doctor.no_memory;
    buf_finish(&out);
    free(doctor.findings);
    return rc == 0 && fine ? 0 : 1;
}

static int run_doctor(const struct command_line *line)
{
    struct config_flag flags[COMMAND_FLAG_LIMIT];
    struct command_settings settings = {.flags = flags};
    struct doctor_flags wanted = {.json = false};
    struct config_sources sources;
    struct config config;
    struct error error = {""};
    char url[CLIENT_URL_SIZE] = "";
    int status;
    if (!command_parse(&doctor_command, line, &settings, &wanted, &status)) {
        return status;
    }
    status = commands_load(&settings, line, &sources, &config);
    if (status != 0) {
        return status;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)str_copy(url, sizeof(url), wanted.client.url != NULL ? wanted.client.url : "");
    if (url[0] == '\0' && client_url_of(config.listen, url, &error) != 0) {
        (void)fprintf(stderr, "log_capturer doctor: %s\n", error.text);
        status = 1;
    } else {
        status = examine(&config, url, wanted.json);
    }
    config_finish(&config);
    return status;
}
