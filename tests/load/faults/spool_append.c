/*
 * Fault: one line in 100,000 is taken and dropped.
 * See ../test_smoke_can_fail.sh; linked in place of spool_append().
 */
#include "spool/spool.h"

int __real_spool_append(struct spool *spool, struct spool_source *source,
                        struct spool_origin *origin, const struct record *record);
int __wrap_spool_append(struct spool *spool, struct spool_source *source,
                        struct spool_origin *origin, const struct record *record);

int __wrap_spool_append(struct spool *spool, struct spool_source *source,
                        struct spool_origin *origin, const struct record *record)
{
    static unsigned long lines;
    lines++;
    if (lines % 100000 == 0) {
        return 0;
    }
    return __real_spool_append(spool, source, origin, record);
}
