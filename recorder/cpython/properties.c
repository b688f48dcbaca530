#include "properties.h"

#include <stdlib.h>
#include <string.h>

#include "../name_table.h"

static struct {
    struct property {
        char *key, *value;              /* owned */
    } *all;                             /* owned */
    size_t n;
} properties;

static void forget_properties(void)
{
    for (size_t i = 0; i < properties.n; i++) {
        free(properties.all[i].key);
        free(properties.all[i].value);
    }
    free(properties.all);
    properties.all = NULL;
    properties.n = 0;
}

int rec_properties_keep(PyObject *dict)
{
    PyObject *key, *value;              /* borrowed */
    Py_ssize_t position = 0;
    forget_properties();
    if (!(properties.all = calloc((size_t)PyDict_Size(dict) + 1, sizeof *properties.all)))
        goto out_of_memory;
    while (PyDict_Next(dict, &position, &key, &value)) {
        const char *text = PyUnicode_AsUTF8(key);
        PyObject *bytes = text ? PyUnicode_AsEncodedString(value, "utf-8", "surrogatepass") : NULL;     /* owned */
        if (!bytes)
            return -1;
        struct property *property = &properties.all[properties.n++];
        *property = (struct property){ strdup(text), strdup(PyBytes_AS_STRING(bytes)) };
        Py_DECREF(bytes);
        if (!property->key || !property->value)
            goto out_of_memory;
    }
    return 0;
out_of_memory:
    PyErr_NoMemory();
    return -1;
}

void rec_properties_write(void)
{
    for (size_t i = 0; i < properties.n; i++)
        rec_name_table_add_property(properties.all[i].key, properties.all[i].value);
}
