#include "findings.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct findings {
    pthread_mutex_t lock;               /* of all that follows */
    unsigned n_owners;
    size_t n;
    uint64_t n_more;
    bool has_damage;
    char *lines[FINDINGS_MAX];          /* owned */
};

struct findings *findings_new(void)
{
    struct findings *findings = calloc(1, sizeof *findings);
    if (!findings)
        return NULL;
    pthread_mutex_init(&findings->lock, NULL);
    findings->n_owners = 1;
    return findings;
}

struct findings *findings_share(struct findings *findings)
{
    pthread_mutex_lock(&findings->lock);
    findings->n_owners++;
    pthread_mutex_unlock(&findings->lock);
    return findings;
}

void findings_release(struct findings *findings)
{
    if (!findings)
        return;
    pthread_mutex_lock(&findings->lock);
    unsigned n_owners = --findings->n_owners;
    pthread_mutex_unlock(&findings->lock);
    if (n_owners)
        return;
    pthread_mutex_destroy(&findings->lock);
    for (size_t i = 0; i < findings->n; i++)
        free(findings->lines[i]);
    free(findings);
}

/* Damage and what is no damage are listed alike: who reads a table wants to know both. */
static void add_finding(void *arg, enum diagnostic_level level, const char *line)
{
    struct findings *findings = arg;
    pthread_mutex_lock(&findings->lock);
    findings->has_damage |= level == DIAGNOSTIC_DAMAGE;
    size_t i = 0;
    while (i < findings->n && strcmp(findings->lines[i], line) != 0)
        i++;
    char *copy = i == findings->n && i < FINDINGS_MAX ? strdup(line) : NULL;
    if (copy)
        findings->lines[findings->n++] = copy;
    else if (i == findings->n)
        findings->n_more++;
    pthread_mutex_unlock(&findings->lock);
}

struct diagnostics findings_diagnostics(struct findings *findings)
{
    return (struct diagnostics){ add_finding, findings };
}

char *findings_copy(struct findings *findings, size_t i)
{
    char *copy = NULL;
    pthread_mutex_lock(&findings->lock);
    if (i < findings->n)
        copy = strdup(findings->lines[i]);
    else if (i == findings->n && findings->n_more && asprintf(&copy, "... and %ju more messages",
                                                              (uintmax_t)findings->n_more) < 0)
        copy = NULL;
    pthread_mutex_unlock(&findings->lock);
    return copy;
}

bool findings_have_damage(struct findings *findings)
{
    pthread_mutex_lock(&findings->lock);
    bool has_damage = findings->has_damage;
    pthread_mutex_unlock(&findings->lock);
    return has_damage;
}
