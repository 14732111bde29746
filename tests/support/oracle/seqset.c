/*
 * The array of pages spans from the lowest page seen to the highest; a page that nothing was
 * put into stays NULL. The span is limited, so that one mad number costs no gigabytes.
 */
#include "oracle/seqset.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_SHIFT 15
#define PAGE_WORDS ((size_t)1 << (PAGE_SHIFT - 6))
#define SPAN_LIMIT ((uint64_t)1 << 20)

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL) {
        fputs("oracle: out of memory\n", stderr);
        exit(3);
    }
    return memory;
}

/* Makes the array span both what it spans now and `page`, with room to grow upwards. */
static void seqset_span(struct seqset *set, uint64_t page)
{
    uint64_t low = set->page_count == 0 || page < set->base_page ? page : set->base_page;
    uint64_t high = set->page_count == 0 ? page : set->base_page + set->page_count - 1;
    if (page > high) {
        high = page + (page - low) / 2;
    }
    size_t count = (size_t)(high - low + 1);
    uint64_t **pages = allocate(count, sizeof *pages);
    if (set->page_count > 0) {
        memcpy(pages + (set->base_page - low), set->pages, set->page_count * sizeof *pages);
    }
    free(set->pages);
    set->pages = pages;
    set->base_page = low;
    set->page_count = count;
}

static bool too_far(const struct seqset *set, uint64_t page)
{
    if (set->page_count == 0) {
        return false;
    }
    uint64_t last = set->base_page + set->page_count - 1;
    return (page > set->base_page && page - set->base_page > SPAN_LIMIT) ||
           (page < last && last - page > SPAN_LIMIT * 2);
}

int seqset_add(struct seqset *set, uint64_t seq)
{
    uint64_t page = seq >> PAGE_SHIFT;
    if (page - set->base_page >= set->page_count) {
        if (too_far(set, page)) {
            return -ERANGE;
        }
        seqset_span(set, page);
    }
    uint64_t **slot = &set->pages[page - set->base_page];
    if (*slot == NULL) {
        *slot = allocate(PAGE_WORDS, sizeof **slot);
    }
    uint64_t *word = &(*slot)[seq >> 6 & (PAGE_WORDS - 1)];
    uint64_t bit = (uint64_t)1 << (seq & 63);
    if ((*word & bit) != 0) {
        return -EEXIST;
    }
    *word |= bit;
    set->first = set->count == 0 || seq < set->first ? seq : set->first;
    set->last = set->count == 0 || seq > set->last ? seq : set->last;
    set->count++;
    return 0;
}

bool seqset_has(const struct seqset *set, uint64_t seq)
{
    uint64_t page = seq >> PAGE_SHIFT;
    if (page - set->base_page >= set->page_count || set->pages[page - set->base_page] == NULL) {
        return false;
    }
    uint64_t word = set->pages[page - set->base_page][seq >> 6 & (PAGE_WORDS - 1)];
    return (word >> (seq & 63) & 1) != 0;
}

void seqset_finish(struct seqset *set)
{
    for (size_t i = 0; i < set->page_count; i++) {
        free(set->pages[i]);
    }
    free(set->pages);
    memset(set, 0, sizeof *set);
}
