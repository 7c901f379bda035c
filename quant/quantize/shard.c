#include "shard.h"

#include <inttypes.h>
#include <string.h>

#define NAME 64

static const char *shard_name(const struct quantize_plan *plan, int32_t i, char out[NAME])
{
    if (plan->n_shards == 1)
        (void)snprintf(out, NAME, "model.safetensors");
    else
        (void)snprintf(out, NAME, "model-%05d-of-%05d.safetensors", i + 1, plan->n_shards);
    return out;
}

/* Errors of a file's matrices, until the report of all is written. */
static const char *errors_name(int32_t i, char out[NAME])
{
    (void)snprintf(out, NAME, "errors-%05d.json", i + 1);
    return out;
}

/* ---- Headers */

static void put_entry(struct buf *header, const char *name, size_t len, const char *dtype,
                      const int64_t *shape, int n_dims, uint64_t offset, uint64_t bytes)
{
    buf_put_char(header, ',');
    buf_put_json(header, name, len);
    buf_format(header, ":{\"dtype\":\"%s\",\"shape\":[", dtype);
    for (int i = 0; i < n_dims; i++)
        buf_format(header, "%s%" PRId64, i ? "," : "", shape[i]);
    buf_format(header, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", offset, offset + bytes);
}

/* Returns where the next tensor begins. */
static uint64_t put_packed(struct buf *header, const struct output *o, uint64_t offset)
{
    char name[MODULE_MOST + NAME];
    for (int32_t i = 0; i < o->packing.n; i++) {
        const struct packed_tensor *t = &o->packing.tensor[i];
        int n = snprintf(name, sizeof name, "%s.%s", o->module, t->suffix);
        put_entry(header, name, (size_t)n, t->dtype, t->shape, t->n_dims, offset, t->bytes);
        offset += t->bytes;
    }
    return offset;
}

static void put_scales(struct buf *header, const struct output *o, enum convention convention,
                       uint64_t offset)
{
    char name[MODULE_MOST + NAME];
    for (int32_t i = 0; i < o->n_scales; i++, offset += sizeof(float)) {
        int n = output_scale_name(o, &o->scale[i], name, sizeof name);
        put_entry(header, name, (size_t)n, "F32", (const int64_t[]){1}, convention != MODELOPT,
                  offset, sizeof(float));
    }
}

/* Dimensions stand the other way round in memory. */
static int32_t put_copied(struct buf *header, const struct tensor *t, uint64_t offset,
                          struct err *err)
{
    char shown[SHOWN_TEXT];
    int64_t shape[TENSOR_DIMS];
    if (t->dtype == DTYPE_NONE || t->dtype == DTYPE_OTHER)
        return err_set(err, INFLIGHT_E_UNSUPPORTED, "%s has numbers of a kind that is not copied",
                       shown_text(t->name, shown));
    for (int32_t i = 0; i < t->n_dims; i++)
        shape[i] = t->dim[t->n_dims - 1 - i];
    put_entry(header, t->name.ptr, t->name.len, dtype_name(t->dtype), shape, t->n_dims, offset,
              t->bytes);
    return INFLIGHT_OK;
}

/* The length, and JSON filled up with spaces so that the data begin at a multiple of 8. */
static int32_t make_header(const struct quantize_plan *plan, const struct shard *shard,
                           struct buf *header, struct err *err)
{
    uint64_t offset = 0;
    header->len = 0;
    buf_put(header, &(uint64_t){0}, sizeof(uint64_t));
    buf_put_text(header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int32_t i = shard->first; i < shard->first + shard->n; i++) {
        const struct output *o = &plan->output[i];
        uint64_t end = offset + o->from->bytes;
        if (o->is_encoded)
            end = put_packed(header, o, offset);
        else if (put_copied(header, o->from, offset, err))
            return err->code;
        put_scales(header, o, plan->convention, end);
        offset += output_bytes(o);
    }
    buf_put_char(header, '}');
    while (header->len % 8 && !header->failed)
        buf_put_char(header, ' ');
    if (header->failed)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a header of %d tensors", shard->n);
    uint64_t bytes = header->len - sizeof bytes;
    memcpy(header->ptr, &bytes, sizeof bytes);
    return INFLIGHT_OK;
}

/* ---- Data */

static int32_t write_packed(const struct output *o, const uint8_t *bytes, struct out_file *file,
                            struct err *err)
{
    for (int32_t i = 0; i < o->packing.n; i++) {
        const struct packed_tensor *t = &o->packing.tensor[i];
        if (out_put(file, bytes + t->offset, t->bytes, err))
            return err->code;
    }
    return INFLIGHT_OK;
}

static int32_t write_scales(const struct output *o, struct out_file *file, struct err *err)
{
    for (int32_t i = 0; i < o->n_scales; i++) {
        const struct scale *s = &o->scale[i];
        if (!(s->value > 0))
            return err_set(err, INFLIGHT_E_UNSUPPORTED,
                           "%s is of no layer that calibration computes: there is no %s for it",
                           o->module, s->suffix);
        if (out_put(file, &s->value, sizeof s->value, err))
            return err->code;
    }
    return INFLIGHT_OK;
}

static int32_t write_matrix(const struct shard_writer *w, struct output *o, struct out_file *file,
                            struct err *err)
{
    if (o->made)
        return o->is_encoded ? write_packed(o, o->made, file, err)
                             : out_put(file, o->made, o->from->bytes, err);
    if (!o->is_encoded) {
        const void *bytes = tensors_view(w->tensors, o->from, &w->encoder->source, err);
        if (!bytes || out_put(file, bytes, o->from->bytes, err))
            return err->code;
        tensors_done(w->tensors, o->from);
        return INFLIGHT_OK;
    }
    if (encoder_run(w->encoder, w->tensors, o, err))
        return err->code;
    return write_packed(o, (const uint8_t *)w->encoder->memory.ptr, file, err);
}

static int32_t write_output(const struct shard_writer *w, struct output *o, struct out_file *file,
                            struct err *err)
{
    if (w->calibration && o->layer >= 0 && calibration_reach(w->calibration, o->layer, err))
        return err->code;
    return write_matrix(w, o, file, err) ? err->code : write_scales(o, file, err);
}

static int32_t write_data(const struct shard_writer *w, const struct shard *shard,
                          struct out_file *file, uint64_t *done, struct err *err)
{
    for (int32_t i = shard->first; i < shard->first + shard->n; i++) {
        struct output *o = &w->plan->output[i];
        if (write_output(w, o, file, err))
            return err->code;
        *done += o->from->bytes;
        progress_show(w->progress, *done);
    }
    return INFLIGHT_OK;
}

static int32_t write_errors(const struct shard_writer *w, int32_t number, struct err *err)
{
    const struct shard *shard = &w->plan->shard[number];
    char name[NAME];
    json_t *errors = json_object();
    for (int32_t i = shard->first; i < shard->first + shard->n; i++)
        if (w->plan->output[i].is_encoded)
            (void)json_object_set_new(
                errors, w->plan->output[i].module,
                json_pack("[f, f]", w->plan->output[i].error, w->plan->output[i].output_error));
    int32_t rc = out_json(w->out, errors_name(number, name), errors, err);
    json_decref(errors);
    return rc;
}

/* The errors come first: a file that is there has them. */
static int32_t write_shard(const struct shard_writer *w, int32_t number, uint64_t *done,
                           struct err *err)
{
    const struct shard *shard = &w->plan->shard[number];
    struct out_file file;
    struct buf header;
    char name[NAME];
    buf_init(&header, &mem_system);
    int32_t rc = make_header(w->plan, shard, &header, err);
    if (!rc)
        rc = out_begin(&file, w->out, shard_name(w->plan, number, name), err);
    if (!rc) {
        rc = out_put(&file, header.ptr, header.len, err);
        if (!rc)
            rc = write_data(w, shard, &file, done, err);
        if (!rc)
            rc = write_errors(w, number, err);
        if (!rc)
            rc = out_end(&file, err);
        out_drop(&file);
    }
    buf_release(&header);
    return rc;
}

static void read_errors(const struct shard_writer *w, int32_t number)
{
    const struct shard *shard = &w->plan->shard[number];
    char name[NAME];
    json_t *errors = out_read_json(w->out, errors_name(number, name));
    for (int32_t i = shard->first; i < shard->first + shard->n; i++) {
        struct output *o = &w->plan->output[i];
        const json_t *pair = o->is_encoded ? json_object_get(errors, o->module) : NULL;
        if (o->is_encoded) {
            o->error = json_number_value(json_array_get(pair, 0));
            o->output_error = json_number_value(json_array_get(pair, 1));
        }
    }
    json_decref(errors);
}

uint64_t shards_done(const struct quantize_plan *plan, const struct out_folder *out)
{
    uint64_t done = 0;
    char name[NAME];
    for (int32_t i = 0; i < plan->n; i++)
        if (out_has(out, shard_name(plan, plan->output[i].shard, name)))
            done += plan->output[i].from->bytes;
    return done;
}

int32_t shards_write(const struct shard_writer *w, struct err *err)
{
    uint64_t done = shards_done(w->plan, w->out);
    char name[NAME];
    for (int32_t i = 0; i < w->plan->n_shards; i++)
        if (out_has(w->out, shard_name(w->plan, i, name)))
            read_errors(w, i);
        else if (write_shard(w, i, &done, err))
            return err->code;
    return INFLIGHT_OK;
}

int32_t shards_forget_errors(const struct shard_writer *w, struct err *err)
{
    char name[NAME];
    for (int32_t i = 0; i < w->plan->n_shards; i++)
        if (out_remove(w->out, errors_name(i, name), err))
            return err->code;
    return INFLIGHT_OK;
}

/* ---- The index */

static void index_output(const struct output *o, json_t *map, const char *file)
{
    char name[MODULE_MOST + NAME];
    for (int32_t i = 0; i < o->n_scales; i++) {
        (void)output_scale_name(o, &o->scale[i], name, sizeof name);
        (void)json_object_set_new(map, name, json_string(file));
    }
    if (!o->is_encoded) {
        (void)json_object_setn_new(map, o->from->name.ptr, o->from->name.len, json_string(file));
        return;
    }
    for (int32_t i = 0; i < o->packing.n; i++) {
        (void)snprintf(name, sizeof name, "%s.%s", o->module, o->packing.tensor[i].suffix);
        (void)json_object_set_new(map, name, json_string(file));
    }
}

int32_t shards_index(const struct shard_writer *w, struct err *err)
{
    char name[NAME];
    if (w->plan->n_shards == 1)
        return INFLIGHT_OK;
    json_t *map = json_object();
    for (int32_t i = 0; i < w->plan->n; i++)
        index_output(&w->plan->output[i], map, shard_name(w->plan, w->plan->output[i].shard, name));
    json_t *root = json_pack("{s:{s:I}, s:o}", "metadata", "total_size",
                             (json_int_t)w->plan->to_bytes, "weight_map", map);
    int32_t rc = out_json(w->out, "model.safetensors.index.json", root, err);
    json_decref(root);
    return rc;
}
