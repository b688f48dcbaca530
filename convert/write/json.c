#include "json.h"

#include <stdlib.h>

#include "text.h"

int json_put_string(struct writer *writer, struct pnr_string string)
{
    char *bytes = malloc((size_t)string.size * 6 + 1);
    if (!bytes)
        return -1;
    writer_put(writer, "\"", 1);
    writer_put(writer, bytes, (size_t)(text_put_json(bytes, string) - bytes));
    writer_put(writer, "\"", 1);
    free(bytes);
    return 0;
}

int json_put_member(struct writer *writer, const char *key, struct pnr_string string)
{
    writer_format(writer, "\"%s\":", key);
    int result = json_put_string(writer, string);
    writer_put(writer, ",", 1);
    return result;
}
