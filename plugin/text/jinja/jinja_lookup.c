/* object.name and object[index]. A name is a method or field of the object first, then
 * one of its items; an index the other way round. What is not there is undefined, and
 * looking into something undefined is an error. */
#include "jinja_builtin.h"
#include "jinja_string.h"

#include <string.h>

static bool is(struct str name, const char *text)
{
    return name.len == strlen(text) && memcmp(name.ptr, text, name.len) == 0;
}

static void loop_neighbour(const struct loop *loop, bool there, size_t at, struct value *out)
{
    if (there)
        *out = loop->items->item[at];
    else
        *out = value_undefined((struct str){"loop item", 9});
}

/* False: no such field. */
static bool loop_field(const struct loop *loop, struct str name, struct value *out)
{
    int64_t index = (int64_t)loop->index, n = (int64_t)loop->items->n;
    const struct {
        const char *name;
        int64_t value;
    } number[] = {{"index", index + 1},         {"index0", index}, {"revindex", n - index},
                  {"revindex0", n - index - 1}, {"length", n},     {"depth", loop->depth},
                  {"depth0", loop->depth - 1}};
    for (size_t i = 0; i < COUNT_OF(number); i++)
        if (is(name, number[i].name)) {
            *out = value_int(number[i].value, loop->trusted);
            return true;
        }
    if (is(name, "first"))
        *out = value_bool(index == 0, true);
    else if (is(name, "last"))
        *out = value_bool(index == n - 1, true);
    else if (is(name, "previtem"))
        loop_neighbour(loop, index > 0, loop->index - 1, out);
    else if (is(name, "nextitem"))
        loop_neighbour(loop, index + 1 < n, loop->index + 1, out);
    else
        return false;
    return true;
}

static const struct builtin *method_of(const struct value *object, struct str name)
{
    switch (object->kind) {
    case VALUE_STRING:
        return builtin_find(&builtin_methods_string, name);
    case VALUE_LIST:
    case VALUE_TUPLE:
        return builtin_find(&builtin_methods_list, name);
    case VALUE_DICT:
        return builtin_find(&builtin_methods_dict, name);
    case VALUE_LOOP:
        return builtin_find(&builtin_methods_loop, name);
    default:
        return NULL;
    }
}

static bool bind_method(struct run *run, const struct builtin *function,
                        const struct value *receiver, struct value *out)
{
    struct method *method = run_take(run, 1, sizeof *method);
    if (!method)
        return false;
    *method = (struct method){function, *receiver};
    *out = (struct value){.kind = VALUE_METHOD, .as.method = method};
    return true;
}

static bool refuse_undefined(struct run *run, const struct value *object, struct str name)
{
    return run_fail(run, INFLIGHT_E_ARG, "'%.*s' is undefined, it has no '%.*s'", (int)object->len,
                    object->as.text, (int)MIN(name.len, (size_t)64), name.ptr);
}

static bool find_item(struct run *run, const struct value *object, const struct value *key,
                      struct value *out)
{
    *out = (struct value){0};
    if (object->kind == VALUE_DICT || object->kind == VALUE_NAMESPACE)
        return dict_find(run, object->as.dict, key, out);
    return true;
}

bool run_attribute(struct run *run, const struct value *object, struct str name, struct value *out)
{
    struct value key = value_text(name.ptr, name.len, true);
    if (object->kind == VALUE_UNDEFINED)
        return refuse_undefined(run, object, name);
    const struct builtin *method = method_of(object, name);
    if (method)
        return bind_method(run, method, object, out);
    if (object->kind == VALUE_LOOP && loop_field(object->as.loop, name, out))
        return true;
    if (!find_item(run, object, &key, out))
        return false;
    if (out->kind == VALUE_ABSENT)
        *out = value_undefined(name);
    return true;
}

static bool item_by_number(struct run *run, const struct value *object, int64_t at,
                           struct value *out)
{
    struct value len;
    *out = (struct value){0};
    if (!value_len(run, object, &len))
        return false;
    int64_t n = len.as.integer;
    at += at < 0 ? n : 0;
    if (at < 0 || at >= n)
        return true;
    if (value_is_list(object)) {
        *out = object->as.list->item[at];
    } else {
        size_t from = string_offset(object, (size_t)at), size;
        string_decode(object->as.text + from, object->as.text + object->len, &size);
        *out = string_part(object, from, from + size);
    }
    return true;
}

bool run_item(struct run *run, const struct value *object, const struct value *index,
              struct value *out)
{
    struct str name = {"item", 4};
    if (index->kind == VALUE_STRING)
        name = (struct str){index->as.text, index->len};
    if (object->kind == VALUE_UNDEFINED)
        return refuse_undefined(run, object, name);
    bool sequence = object->kind == VALUE_STRING || value_is_list(object);
    if (sequence && index->kind == VALUE_INT) {
        if (!item_by_number(run, object, index->as.integer, out))
            return false;
    } else if (sequence && index->kind == VALUE_BOOL) {
        if (!item_by_number(run, object, index->as.truth, out))
            return false;
    } else if (index->kind == VALUE_LIST || index->kind == VALUE_DICT) {
        *out = (struct value){0};
    } else if (!find_item(run, object, index, out)) {
        return false;
    }
    if (out->kind == VALUE_ABSENT && index->kind == VALUE_STRING)
        return run_attribute(run, object, name, out);
    if (out->kind == VALUE_ABSENT)
        *out = value_undefined(name);
    return true;
}
