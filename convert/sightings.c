#include "sightings.h"

#include <stdlib.h>
#include <string.h>

#include "convert/slices/sink.h"
#include "format/array.h"
#include "convert.h"

struct sighting_sink {
    struct sink sink;                   /* first: a sink is one */
    struct sightings *sightings;
    const struct symbols *symbols;      /* of the present process */
    struct pnr_string label;            /* that is sought; without bytes: none */
    uint64_t zero_ns;
    uint32_t process;
    bool is_out_of_memory;
};

static void see_process(struct sink *sink, const struct sink_process *process)
{
    struct sighting_sink *own = (struct sighting_sink *)sink;
    own->symbols = process->symbols;
    own->process = process->order;
}

static void see(struct sighting_sink *own, const struct pnr_values *values, uint64_t begin_ns, uint64_t end_ns)
{
    struct sightings *sightings = own->sightings;
    uint64_t id;
    if (!request_find_id(own->symbols, values, &id))
        return;
    if (sightings->n == SIGHTINGS_MAX) {
        sightings->n_left_out++;
        return;
    }
    if (pnr_array_reserve(&sightings->all, &sightings->capacity, sightings->n + 1) < 0) {
        own->is_out_of_memory = own->sink.is_broken = true;
        return;
    }
    sightings->all[sightings->n++] = (struct sighting){ id, own->zero_ns + begin_ns, own->zero_ns + end_ns,
                                                        own->process };
}

/* Looks whether something of this label is what is sought. */
static void see_label(struct sighting_sink *own, uint32_t label, uint64_t ns)
{
    const struct symbol *symbol = own->label.bytes ? symbols_function(own->symbols, label) : NULL;
    uint64_t *first_ns = &own->sightings->first_ns[own->process];
    if (symbol && symbol->kind == PNR_FUNCTION_LABEL && symbol->name.size == own->label.size &&
        memcmp(symbol->name.bytes, own->label.bytes, own->label.size) == 0 && own->zero_ns + ns < *first_ns)
        *first_ns = own->zero_ns + ns;
}

static void see_slice(struct sink *sink, const struct slice *slice)
{
    struct sighting_sink *own = (struct sighting_sink *)sink;
    if (slice->subject != PNR_SUBJECT_SPAN)
        return;
    see_label(own, slice->function, slice->begin_ns);
    see(own, slice->values, slice->begin_ns, slice->end_ns);
}

static void see_remark(struct sink *sink, const struct sink_remark *remark)
{
    struct sighting_sink *own = (struct sighting_sink *)sink;
    if (remark->kind != PNR_INSTANT)
        return;
    see_label(own, remark->label, remark->ns);
    see(own, remark->values, remark->ns, remark->ns);
}

static int by_id_and_begin(const void *a, const void *b)
{
    const struct sighting *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    if (x->begin_ns != y->begin_ns)
        return x->begin_ns < y->begin_ns ? -1 : 1;
    return x->process < y->process ? -1 : x->process > y->process;
}

static bool have_labels(struct reader **readers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (reader_symbols(readers[i])->has_labels)
            return true;
    return false;
}

int sightings_gather(struct reader **readers, size_t n, const struct selection *selection, const char *label,
                     struct sightings *sightings, struct pnr_err *err)
{
    struct sighting_sink own = {
        .sink = { .process = see_process, .slice = see_slice, .remark = see_remark }, .sightings = sightings,
        .label = { label, label ? (uint32_t)strlen(label) : 0 }, .zero_ns = convert_zero_ns(readers, n) };
    const struct convert_options how = { .selection = selection };
    struct convert_count count;
    struct anomalies *anomalies = calloc(n + 1, sizeof *anomalies);
    *sightings = (struct sightings){ .first_ns = calloc(n + 1, sizeof *sightings->first_ns) };
    bool has_memory = anomalies && sightings->first_ns;
    for (size_t i = 0; has_memory && i < n; i++)
        sightings->first_ns[i] = UINT64_MAX;
    if (has_memory && !have_labels(readers, n)) {
        free(anomalies);
        return 0;
    }
    int result = has_memory ? convert(readers, n, &how, &own.sink, &count, anomalies, err) : -1;
    for (size_t i = 0; i < n && result == 0; i++)
        result = reader_rewind(readers[i]);
    if (sightings->n)
        qsort(sightings->all, sightings->n, sizeof *sightings->all, by_id_and_begin);
    free(anomalies);
    return result < 0 || own.is_out_of_memory ? pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory") : 0;
}

void sightings_clear(struct sightings *sightings)
{
    free(sightings->all);
    free(sightings->first_ns);
    *sightings = (struct sightings){ .n = 0 };
}
