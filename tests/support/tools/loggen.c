/*
 * loggen: a container's workload whose lines can be checked by oracle.
 *
 * Flat out it collects 64 KiB per stream and writes them at once; with a rate it wakes each
 * millisecond and writes what is due by the monotonic clock, so that a delay is caught up and
 * the mean holds. Linked static, for images made from nothing. SIGTERM ends it in order:
 * what is collected is written, and the exit code is 0, also as process 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "genline/genline.h"

#define FLUSH_BYTES ((size_t)64 * 1024)
#define SIZE_MAX_BYTES ((uint64_t)64 * 1024 * 1024)

struct options {
    const char *name;
    const char *run_file;
    uint64_t lines;
    uint64_t rate;
    uint64_t size;
    uint64_t stderr_every;
    uint64_t start;
    uint64_t hold_s;
    uint64_t delay_ms;
    uint64_t big_every;
    uint64_t big_size;
    bool no_final_newline;
};

struct output {
    int fd;
    char *data;
    size_t used;
    uint64_t next_seq;
};

struct generator {
    struct options options;
    char name[GENLINE_NAME_MAX + 1];
    struct output out;
    struct output err;
    uint64_t count;
};

static volatile sig_atomic_t stop_wanted;

static void handle_sigterm(int number)
{
    (void)number;
    stop_wanted = 1;
}

static void usage(FILE *to)
{
    fputs("usage: loggen [options]\n"
          "  --name ID             first word of each line (loggen)\n"
          "  --count-runs FILE     name becomes ID.rN, N counted up in FILE at each start\n"
          "  --lines N             lines of both streams together, 0 = for ever (1000)\n"
          "  --rate R              lines a second, 0 = flat out (0)\n"
          "  --size BYTES          length of a line without newline (100)\n"
          "  --big-every K         each K-th line has --big-size instead (0 = never)\n"
          "  --big-size BYTES      (20000)\n"
          "  --stderr-every K      each K-th line goes to stderr, 0 = never (0)\n"
          "  --start SEQ           first sequence number of each stream (1)\n"
          "  --delay MS            before the first line (0)\n"
          "  --hold SECONDS        between the last line and the exit (0)\n"
          "  --no-final-newline    the very last line has none\n",
          to);
}

static uint64_t parse_number(const char *option, const char *text, uint64_t limit)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || value > limit) {
        fprintf(stderr, "loggen: --%s: bad number: %s\n", option, text);
        exit(2);
    }
    return value;
}

static const struct option long_options[] = {
    {"name", required_argument, NULL, 'n'},     {"count-runs", required_argument, NULL, 'c'},
    {"lines", required_argument, NULL, 'l'},    {"rate", required_argument, NULL, 'r'},
    {"size", required_argument, NULL, 's'},     {"big-every", required_argument, NULL, 'b'},
    {"big-size", required_argument, NULL, 'B'}, {"stderr-every", required_argument, NULL, 'e'},
    {"start", required_argument, NULL, 'S'},    {"delay", required_argument, NULL, 'd'},
    {"hold", required_argument, NULL, 'h'},     {"no-final-newline", no_argument, NULL, 'x'},
    {"help", no_argument, NULL, '?'},           {NULL, 0, NULL, 0},
};

static uint64_t *option_number(struct options *options, int key)
{
    switch (key) {
    case 'l':
        return &options->lines;
    case 'r':
        return &options->rate;
    case 's':
        return &options->size;
    case 'b':
        return &options->big_every;
    case 'B':
        return &options->big_size;
    case 'e':
        return &options->stderr_every;
    case 'S':
        return &options->start;
    case 'd':
        return &options->delay_ms;
    case 'h':
        return &options->hold_s;
    default:
        return NULL;
    }
}

static struct options parse_options(int argc, char **argv)
{
    struct options options = {
        .name = "loggen", .lines = 1000, .size = 100, .start = 1, .big_size = 20000};
    int index = 0;
    int key;
    while ((key = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        uint64_t *number = option_number(&options, key);
        if (number != NULL) {
            uint64_t limit = key == 's' || key == 'B' ? SIZE_MAX_BYTES : UINT64_MAX / 2;
            *number = parse_number(long_options[index].name, optarg, limit);
        } else if (key == 'n') {
            options.name = optarg;
        } else if (key == 'c') {
            options.run_file = optarg;
        } else if (key == 'x') {
            options.no_final_newline = true;
        } else {
            bool asked = argc == 2 && strcmp(argv[1], "--help") == 0;
            usage(asked ? stdout : stderr);
            exit(asked ? 0 : 2);
        }
    }
    if (optind != argc || strlen(options.name) > GENLINE_NAME_MAX - 24 || options.name[0] == '\0' ||
        strchr(options.name, ' ') != NULL) {
        usage(stderr);
        exit(2);
    }
    return options;
}

/* Counts the starts of this container, which its own file system remembers. */
static uint64_t next_run(const char *path)
{
    unsigned long long run = 0;
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        char text[32] = "";
        if (fgets(text, sizeof text, file) != NULL) {
            run = strtoull(text, NULL, 10);
        }
        fclose(file);
    }
    run++;
    file = fopen(path, "we");
    if (file == NULL || fprintf(file, "%llu\n", run) < 0 || fclose(file) != 0) {
        fprintf(stderr, "loggen: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    return run;
}

/* Writes all that is collected, also after SIGTERM. Ends the program when nobody can read. */
static void output_flush(struct output *output)
{
    size_t done = 0;
    while (done < output->used) {
        ssize_t count = write(output->fd, output->data + done, output->used - done);
        if (count < 0 && errno != EINTR) {
            exit(1);
        }
        done += count > 0 ? (size_t)count : 0;
    }
    output->used = 0;
}

static void generator_line(struct generator *generator)
{
    const struct options *options = &generator->options;
    uint64_t number = ++generator->count;
    bool to_stderr = options->stderr_every > 0 && number % options->stderr_every == 0;
    bool big = options->big_every > 0 && number % options->big_every == 0;
    struct output *output = to_stderr ? &generator->err : &generator->out;
    struct genline line = {
        .name = generator->name,
        .name_len = strlen(generator->name),
        .stream = to_stderr ? 'e' : 'o',
        .seq = output->next_seq++,
    };
    output->used += genline_format(output->data + output->used, &line,
                                   (size_t)(big ? options->big_size : options->size));
    if (number != options->lines || !options->no_final_newline) {
        output->data[output->used++] = '\n';
    }
    if (output->used >= FLUSH_BYTES) {
        output_flush(output);
    }
}

static bool generator_done(const struct generator *generator)
{
    return stop_wanted ||
           (generator->options.lines > 0 && generator->count >= generator->options.lines);
}

static void generator_flush(struct generator *generator)
{
    output_flush(&generator->out);
    output_flush(&generator->err);
}

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* Ends early when SIGTERM comes: the signal interrupts the sleep, or came before it and is seen
 * after at most 100 ms. */
static void pause_until(uint64_t deadline_ns)
{
    while (!stop_wanted) {
        uint64_t now = monotonic_ns();
        if (now >= deadline_ns) {
            return;
        }
        uint64_t left = deadline_ns - now;
        struct timespec slice = {.tv_nsec = left > 100000000U ? 100000000L : (long)left};
        nanosleep(&slice, NULL);
    }
}

static void run_paced(struct generator *generator)
{
    uint64_t rate = generator->options.rate;
    uint64_t start_ns = monotonic_ns();
    while (!generator_done(generator)) {
        uint64_t elapsed_ns = monotonic_ns() - start_ns;
        uint64_t due = elapsed_ns / 1000000000U * rate +
                       (uint64_t)((double)(elapsed_ns % 1000000000U) * (double)rate / 1e9) + 1;
        while (generator->count < due && !generator_done(generator)) {
            generator_line(generator);
        }
        generator_flush(generator);
        if (!generator_done(generator)) {
            pause_until(monotonic_ns() + 1000000U);
        }
    }
}

static void generator_run(struct generator *generator)
{
    pause_until(monotonic_ns() + generator->options.delay_ms * 1000000U);
    if (generator->options.rate > 0) {
        run_paced(generator);
    }
    while (!generator_done(generator)) {
        generator_line(generator);
    }
    generator_flush(generator);
    pause_until(monotonic_ns() + generator->options.hold_s * 1000000000U);
}

static void output_init(struct output *output, int fd, const struct options *options)
{
    uint64_t longest = options->size > options->big_size ? options->size : options->big_size;
    output->fd = fd;
    output->used = 0;
    output->next_seq = options->start;
    output->data = malloc(FLUSH_BYTES + (size_t)longest + GENLINE_SLACK + 1);
    if (output->data == NULL) {
        fputs("loggen: out of memory\n", stderr);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    struct generator generator = {.options = parse_options(argc, argv)};
    const struct options *options = &generator.options;
    struct sigaction action = {.sa_handler = handle_sigterm};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (options->run_file != NULL) {
        snprintf(generator.name, sizeof generator.name, "%s.r%" PRIu64, options->name,
                 next_run(options->run_file));
    } else {
        snprintf(generator.name, sizeof generator.name, "%s", options->name);
    }
    output_init(&generator.out, STDOUT_FILENO, options);
    output_init(&generator.err, STDERR_FILENO, options);
    generator_run(&generator);
    free(generator.out.data);
    free(generator.err.data);
    return 0;
}
