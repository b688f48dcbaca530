/* The Python module panopticon_rec._tables: gives streams and schemas of tables in the capsules of the Arrow PyCapsule
 * interface (Apache Arrow, docs/source/format/CDataInterface/PyCapsuleInterface.rst). tables.py is its only user. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "stream.h"

#define FINDINGS_CAPSULE "panopticon_rec.findings"

/* Returns the list of the lines, or NULL with an exception. */
static PyObject *list_lines(struct findings *findings)
{
    PyObject *lines = PyList_New(0);
    char *text;
    for (size_t i = 0; lines && (text = findings_copy(findings, i)); i++) {
        PyObject *line = PyUnicode_DecodeFSDefault(text);
        free(text);
        if (!line || PyList_Append(lines, line) < 0)
            Py_CLEAR(lines);
        Py_XDECREF(line);
    }
    return lines;
}

/* Raises ValueError with all lines of the findings, which are the reasons. */
static void raise_findings(struct findings *findings)
{
    PyObject *lines = list_lines(findings), *separator = PyUnicode_FromString("\n");
    PyObject *text = lines && separator ? PyUnicode_Join(separator, lines) : NULL;
    if (text && !PyUnicode_GET_LENGTH(text))
        PyErr_SetString(PyExc_ValueError, "nothing in the capture can be read");
    else if (text)
        PyErr_SetObject(PyExc_ValueError, text);
    Py_XDECREF(text);
    Py_XDECREF(separator);
    Py_XDECREF(lines);
}

/* Raises what err says of a query's captures. */
static void raise_err(const struct pnr_err *err, const struct query *query)
{
    char text[1024];
    if (err->code == PNR_E_MEMORY) {
        PyErr_NoMemory();
    } else if (err->code == PNR_E_SYSTEM) {
        errno = err->sys_errno;
        PyErr_SetFromErrnoWithFilename(PyExc_OSError, query->paths[0]);
    } else if (err->code == PNR_OK && !*err->what) {    /* all that is wrong has been reported */
        raise_findings(query->findings);
    } else {
        PyErr_Format(PyExc_ValueError, "%s", pnr_err_describe(err, text, sizeof text));
    }
}

/* ---- what is wanted ---- */

static const struct {
    const char *name;
    enum selection_option option;
} query_options[] = {
    { "from_", SELECT_FROM }, { "to", SELECT_TO }, { "process", SELECT_PROCESS }, { "thread", SELECT_THREAD },
    { "include", SELECT_INCLUDE }, { "exclude", SELECT_EXCLUDE }, { "min_duration", SELECT_MIN_DURATION },
};

static int add_query_option(struct query *query, PyObject *pair)
{
    const char *name, *text;
    if (!PyArg_ParseTuple(pair, "ss", &name, &text))
        return -1;
    for (size_t i = 0; i < sizeof query_options / sizeof *query_options; i++) {
        if (strcmp(query_options[i].name, name) != 0)
            continue;
        char *copy = strdup(text);
        if (!copy) {
            PyErr_NoMemory();
            return -1;
        }
        query->options[query->n_options++] = (struct query_option){ query_options[i].option, copy };
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "no option: %s", name);
    return -1;
}

static const struct column *find_column(const struct table_kind *kind, const char *name)
{
    for (size_t i = 0; i < kind->n_columns; i++)
        if (strcmp(kind->columns[i].name, name) == 0)
            return &kind->columns[i];
    PyErr_Format(PyExc_ValueError, "%s has no column %s", kind->name, name);
    return NULL;
}

/* names: a tuple, or None for all columns. */
static int choose_columns(struct query *query, PyObject *names)
{
    const struct table_kind *kind = query->kind;
    size_t n = names == Py_None ? kind->n_columns : (size_t)PyTuple_GET_SIZE(names);
    query->columns = calloc(n + 1, sizeof *query->columns);
    if (!query->columns) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        const char *name = names == Py_None ? NULL : PyUnicode_AsUTF8(PyTuple_GET_ITEM(names, (Py_ssize_t)i));
        if (names != Py_None && !name)
            return -1;
        query->columns[i] = name ? find_column(kind, name) : &kind->columns[i];
        if (!query->columns[i])
            return -1;
        query->n_columns++;
    }
    return 0;
}

static int add_query_options(struct query *query, PyObject *pairs)
{
    query->options = calloc((size_t)PyTuple_GET_SIZE(pairs) + 1, sizeof *query->options);
    if (!query->options) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(pairs); i++)
        if (add_query_option(query, PyTuple_GET_ITEM(pairs, i)) < 0)
            return -1;
    return 0;
}

/* paths: a tuple. */
static int add_query_paths(struct query *query, PyObject *paths)
{
    query->paths = calloc((size_t)PyTuple_GET_SIZE(paths) + 1, sizeof *query->paths);
    if (!query->paths) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(paths); i++) {
        PyObject *path;
        if (!PyUnicode_FSConverter(PyTuple_GET_ITEM(paths, i), &path))
            return -1;
        query->paths[i] = strdup(PyBytes_AS_STRING(path));
        Py_DECREF(path);
        if (!query->paths[i]) {
            PyErr_NoMemory();
            return -1;
        }
        query->n_paths++;
    }
    return 0;
}

/* Makes a query of the arguments (findings, paths, table, options, columns). Returns 0; or -1 with an exception, and
 * then it is cleared. */
static int parse_query(PyObject *args, struct query *query)
{
    PyObject *capsule, *paths, *pairs, *names;
    const char *name;
    *query = (struct query){ .n_options = 0 };
    if (!PyArg_ParseTuple(args, "OO!sO!O", &capsule, &PyTuple_Type, &paths, &name, &PyTuple_Type, &pairs, &names))
        return -1;
    struct findings *findings = PyCapsule_GetPointer(capsule, FINDINGS_CAPSULE);
    query->kind = table_find(name);
    if (!findings)
        return -1;
    query->findings = findings_share(findings);
    if (!query->kind)
        PyErr_Format(PyExc_ValueError, "no table: %s", name);
    else if (add_query_paths(query, paths) == 0 && choose_columns(query, names) == 0 &&
             add_query_options(query, pairs) == 0)
        return 0;
    query_clear(query);
    return -1;
}

/* ---- functions of the module ---- */

static void free_findings_capsule(PyObject *capsule)
{
    findings_release(PyCapsule_GetPointer(capsule, FINDINGS_CAPSULE));
}

/* open(paths): looks whether there are captures. Returns the capsule of their findings. */
static PyObject *open_findings(PyObject *module, PyObject *paths)
{
    struct query query = { .findings = findings_new() };
    struct pnr_err err;
    int status;
    (void)module;
    if (!query.findings)
        return PyErr_NoMemory();
    PyObject *capsule = PyCapsule_New(findings_share(query.findings), FINDINGS_CAPSULE, free_findings_capsule);
    if (!capsule)
        findings_release(query.findings);
    if (!capsule || add_query_paths(&query, paths) < 0) {
        Py_CLEAR(capsule);
        query_clear(&query);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = query_find_captures(&query, &err);
    Py_END_ALLOW_THREADS
    if (status < 0) {
        raise_err(&err, &query);
        Py_CLEAR(capsule);
    }
    query_clear(&query);
    return capsule;
}

/* findings(capsule): returns the list of the lines. */
static PyObject *list_findings(PyObject *module, PyObject *capsule)
{
    (void)module;
    struct findings *findings = PyCapsule_GetPointer(capsule, FINDINGS_CAPSULE);
    return findings ? list_lines(findings) : NULL;
}

/* columns(table): returns the names of its columns, a tuple. */
static PyObject *list_columns(PyObject *module, PyObject *arg)
{
    (void)module;
    const char *name = PyUnicode_AsUTF8(arg);
    const struct table_kind *kind = name ? table_find(name) : NULL;
    if (!kind)
        return name ? PyErr_Format(PyExc_ValueError, "no table: %s", name) : NULL;
    PyObject *names = PyTuple_New((Py_ssize_t)kind->n_columns);
    for (size_t i = 0; names && i < kind->n_columns; i++) {
        PyObject *column = PyUnicode_FromString(kind->columns[i].name);
        if (column)
            PyTuple_SET_ITEM(names, (Py_ssize_t)i, column);
        else
            Py_CLEAR(names);
    }
    return names;
}

/* is_whole(capsule): returns whether no damage was found. */
static PyObject *is_whole(PyObject *module, PyObject *capsule)
{
    (void)module;
    struct findings *findings = PyCapsule_GetPointer(capsule, FINDINGS_CAPSULE);
    return findings ? PyBool_FromLong(!findings_have_damage(findings)) : NULL;
}

/* check(findings, paths, table, options, columns): raises ValueError for what stream() cannot be asked. */
static PyObject *check_query(PyObject *module, PyObject *args)
{
    struct query query;
    size_t i;
    (void)module;
    if (parse_query(args, &query) < 0)
        return NULL;
    const char *problem = query_check(&query, &i);
    if (problem) {
        const char *name = "";
        for (size_t k = 0; k < sizeof query_options / sizeof *query_options; k++)
            if (i < query.n_options && query_options[k].option == query.options[i].option)
                name = query_options[k].name;
        PyErr_Format(PyExc_ValueError, "%s: %s: %s", name, i < query.n_options ? query.options[i].text : "", problem);
    }
    query_clear(&query);
    if (problem)
        return NULL;
    Py_RETURN_NONE;
}

/* Makes a capsule of a structure of this size, which fill() fills in for the query of the arguments. The structure is zero
 * before, and released and freed by the destructor in any case. fill() returns 0, or -1 and fills err. */
static PyObject *make_capsule(PyObject *args, size_t size, const char *name, PyCapsule_Destructor destructor,
                              int (*fill)(struct query *query, void *out, struct pnr_err *err))
{
    struct query query;
    struct pnr_err err;
    int status;
    if (parse_query(args, &query) < 0)
        return NULL;
    void *out = calloc(1, size);
    PyObject *capsule = out ? PyCapsule_New(out, name, destructor) : PyErr_NoMemory();
    if (!capsule) {
        free(out);
        query_clear(&query);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = fill(&query, out, &err);
    Py_END_ALLOW_THREADS
    if (status < 0) {
        raise_err(&err, &query);
        Py_CLEAR(capsule);
    }
    query_clear(&query);
    return capsule;
}

static void free_stream_capsule(PyObject *capsule)
{
    struct ArrowArrayStream *stream = PyCapsule_GetPointer(capsule, "arrow_array_stream");
    if (stream->release)                /* else a consumer has moved it, or there was none */
        stream->release(stream);
    free(stream);
}

static int fill_stream(struct query *query, void *out, struct pnr_err *err)
{
    return stream_open(out, query, err);
}

/* stream(findings, paths, table, options, columns): returns a capsule with an ArrowArrayStream. */
static PyObject *make_stream(PyObject *module, PyObject *args)
{
    (void)module;
    return make_capsule(args, sizeof(struct ArrowArrayStream), "arrow_array_stream", free_stream_capsule, fill_stream);
}

static void free_schema_capsule(PyObject *capsule)
{
    struct ArrowSchema *schema = PyCapsule_GetPointer(capsule, "arrow_schema");
    if (schema->release)                /* else a consumer has moved it, or there was none */
        schema->release(schema);
    free(schema);
}

static int fill_schema(struct query *query, void *out, struct pnr_err *err)
{
    return stream_describe(query, out, err);
}

/* schema(findings, paths, table, options, columns): returns a capsule with an ArrowSchema. */
static PyObject *make_schema(PyObject *module, PyObject *args)
{
    (void)module;
    return make_capsule(args, sizeof(struct ArrowSchema), "arrow_schema", free_schema_capsule, fill_schema);
}

static PyMethodDef methods[] = {
    { "open", open_findings, METH_O, NULL },
    { "findings", list_findings, METH_O, NULL },
    { "is_whole", is_whole, METH_O, NULL },
    { "columns", list_columns, METH_O, NULL },
    { "check", check_query, METH_VARARGS, NULL },
    { "stream", make_stream, METH_VARARGS, NULL },
    { "schema", make_schema, METH_VARARGS, NULL },
    { NULL, NULL, 0, NULL },
};

/* The module has no state: any interpreter of a process may load it, and any thread may call it without a GIL. */
static PyModuleDef_Slot slots[] = {
#ifdef Py_mod_multiple_interpreters
    { Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED },
#endif
#ifdef Py_mod_gil
    { Py_mod_gil, Py_MOD_GIL_NOT_USED },
#endif
    { 0, NULL },
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_tables", .m_methods = methods, .m_slots = slots,
};

PyMODINIT_FUNC PyInit__tables(void)
{
    return PyModuleDef_Init(&definition);
}
