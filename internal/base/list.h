/*
 * Intrusive doubly linked list. A link is in at most one list; list_remove() on a link that is in
 * none does nothing, so that every destroyer may call it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct list {
    struct list *next;
    struct list *prev;
};

#define container_of(pointer, type, member) ((type *)((uintptr_t)(pointer)-offsetof(type, member)))

/* Iterates in a way that allows the removal of the present link. */
#define list_for_each_safe(link, next_link, head)                                                  \
    for ((link) = (head)->next, (next_link) = (link)->next; (link) != (head);                      \
         (link) = (next_link), (next_link) = (link)->next)

static inline void list_init(struct list *link)
{
    link->next = link->prev = link;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

static inline void list_append(struct list *head, struct list *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

/* Moves all links of `from` to the end of `to`. */
static inline void list_splice(struct list *to, struct list *from)
{
    if (from->next != from) {
        from->next->prev = to->prev;
        from->prev->next = to;
        to->prev->next = from->next;
        to->prev = from->prev;
        list_init(from);
    }
}

static inline void list_remove(struct list *link)
{
    if (link->next != NULL) {
        link->prev->next = link->next;
        link->next->prev = link->prev;
    }
    link->next = link->prev = link;
}
