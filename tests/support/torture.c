/*
 * Linked with --wrap=malloc and its kin: makes the allocation number TORTURE_FAIL_AT (1 is the first) return NULL,
 * once. Only calls in the objects of the link are wrapped, so those inside shared libraries never fail and are not
 * counted. The test's own files are compiled with malloc renamed to torture_exempt_malloc, and so on: a test need
 * not survive a failure of its own.
 *
 * A test whose assertion fails stops in its middle and frees nothing, so leaks at exit say nothing about such a run.
 * Therefore cmocka's _fail() is replaced: at the first failed assertion, while the test's frame still holds what the
 * test owns, LeakSanitizer is asked what nobody holds.
 *
 * The file named by TORTURE_REPORT gets "fired" with the call stack at the moment of the failure, "leak" for the
 * check above, and "end" when the process ends by exit(). Written for torture.sh; nothing goes to stdout.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t limit);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t limit);
void *torture_exempt_malloc(size_t size);
void *torture_exempt_calloc(size_t count, size_t size);
void *torture_exempt_realloc(void *old, size_t size);
void *torture_exempt_aligned_alloc(size_t alignment, size_t size);
char *torture_exempt_strdup(const char *text);
char *torture_exempt_strndup(const char *text, size_t limit);

void _fail(const char *file, int line);
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static unsigned long fail_at;
static atomic_ulong allocations;

static void report(const char *line, int with_stack)
{
    const char *path = getenv("TORTURE_REPORT");
    int fd = path != NULL ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;

    if (fd < 0) {
        return;
    }
    dprintf(fd, "%s\n", line);
    if (with_stack) {
        void *stack[32];
        backtrace_symbols_fd(stack, backtrace(stack, 32), fd);
    }
    close(fd);
}

__attribute__((constructor)) static void torture_begin(void)
{
    const char *text = getenv("TORTURE_FAIL_AT");

    fail_at = text != NULL ? strtoul(text, NULL, 10) : 0;
    atomic_store(&allocations, 0);
}

__attribute__((destructor)) static void torture_end(void)
{
    report("end", 0);
}

void _fail(const char *file, int line)
{
    static atomic_flag checked = ATOMIC_FLAG_INIT;
    void (*real_fail)(const char *, int);

    if (!atomic_flag_test_and_set(&checked) && __lsan_do_recoverable_leak_check != NULL &&
        __lsan_do_recoverable_leak_check() != 0) {
        report("leak", 0);
    }
    *(void **)&real_fail = dlsym(RTLD_NEXT, "_fail");
    real_fail(file, line);
    abort(); /* not reached: it jumps out of the test */
}

static int fails_now(void)
{
    if (atomic_fetch_add(&allocations, 1) + 1 != fail_at) {
        return 0;
    }
    report("fired", 1);
    errno = ENOMEM;
    return 1;
}

void *__wrap_malloc(size_t size)
{
    return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails_now() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return fails_now() ? NULL : __real_aligned_alloc(alignment, size);
}

char *__wrap_strdup(const char *text)
{
    return fails_now() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t limit)
{
    return fails_now() ? NULL : __real_strndup(text, limit);
}

void *torture_exempt_malloc(size_t size)
{
    return __real_malloc(size);
}

void *torture_exempt_calloc(size_t count, size_t size)
{
    return __real_calloc(count, size);
}

void *torture_exempt_realloc(void *old, size_t size)
{
    return __real_realloc(old, size);
}

void *torture_exempt_aligned_alloc(size_t alignment, size_t size)
{
    return __real_aligned_alloc(alignment, size);
}

char *torture_exempt_strdup(const char *text)
{
    return __real_strdup(text);
}

char *torture_exempt_strndup(const char *text, size_t limit)
{
    return __real_strndup(text, limit);
}
