/* Matrices whose tensors do not fit together, or whose numbers cannot be had: each is refused in a
 * sentence that names the place. */
#include "matrix_cases.h"
#include "t.h"

#include <math.h>

struct refusal {
    const char *name; /* of a case */
    const char *tensor;
    enum { MISSING, ROWS, COLUMNS, DTYPE } change;
    int64_t to;
    const char *why;
};

static const struct refusal refusals[] = {
    {"fp8 of a channel", "m.weight", MISSING, 0,
     "tensor m.weight is missing, config.json: quant_method is compressed-tensors"},
    {"fp8 of a channel", "m.weight_scale", MISSING, 0,
     "tensor m.weight_scale is missing, config.json: quant_method is compressed-tensors"},
    {"fp8 of a channel", "m.weight", DTYPE, DTYPE_I8,
     "model.safetensors: tensor m.weight is of type I8, want F8_E4M3"},
    {"fp8 of a channel", "m.weight_scale", DTYPE, DTYPE_I32,
     "model.safetensors: tensor m.weight_scale is of type I32, want F32, F16 or BF16"},
    {"fp8 of a channel", "m.weight_scale", ROWS, 36,
     "model.safetensors: tensor m.weight_scale is 1 x 36 x 1, want 37 x 1"},
    {"fp8 of a channel", "m.weight", COLUMNS, 512,
     "model.safetensors: tensor m.weight is 1 x 37 x 512, want 37 x 511"},
    {"fp8 of DeepSeek", "m.weight_scale_inv", COLUMNS, 5,
     "model.safetensors: tensor m.weight_scale_inv is 1 x 2 x 5, want 2 x 4"},
    {"W4A16 with zero points", "m.weight_zero_point", MISSING, 0,
     "tensor m.weight_zero_point is missing, config.json: quant_method is compressed-tensors"},
    {"W4A16 with zero points", "m.weight_zero_point", ROWS, 41,
     "model.safetensors: tensor m.weight_zero_point is 1 x 41 x 2, want 6 x 2"},
    {"W4A16 with zero points", "m.weight_zero_point", DTYPE, DTYPE_F16,
     "model.safetensors: tensor m.weight_zero_point is of type F16, want I32 or I8"},
    {"W4A16 with zero points", "m.weight_shape", DTYPE, DTYPE_I32,
     "model.safetensors: tensor m.weight_shape is of type I32, want I64"},
    {"W4A16 with zero points", "m.weight_shape", COLUMNS, 3,
     "model.safetensors: tensor m.weight_shape is 1 x 1 x 3, want 1 x 2"},
    {"AWQ of 128", "m.qweight", COLUMNS, 36,
     "model.safetensors: tensor m.qweight is 1 x 384 x 36, want 384 x 37"},
    {"AWQ of 128", "m.qzeros", MISSING, 0,
     "tensor m.qzeros is missing, config.json: quant_method is awq"},
    {"AWQ of 128", "m.qzeros", DTYPE, DTYPE_I8,
     "model.safetensors: tensor m.qzeros is of type I8, want I32"},
    {"AWQ of 128", "m.scales", ROWS, 4,
     "model.safetensors: tensor m.scales is 1 x 4 x 296, want 3 x 296"},
    {"GPTQ of 128", "m.g_idx", DTYPE, DTYPE_I64,
     "model.safetensors: tensor m.g_idx is of type I64, want I32"},
    {"GPTQ of 128", "m.g_idx", COLUMNS, 511,
     "model.safetensors: tensor m.g_idx is 1 x 1 x 511, want 1 x 512"},
    {"GPTQ of 128", "m.qweight", ROWS, 65,
     "model.safetensors: tensor m.qweight is 1 x 65 x 299, want 64 x 299"},
    {"int4 of ModelOpt", "m.weight", ROWS, 46,
     "model.safetensors: tensor m.weight is 1 x 46 x 256, want 23 x 256"},
};

static struct tensor *tensor_named(const char *name)
{
    uint64_t i = 0;
    while (i + 1 < im.tensors.n && strcmp(im.name[i], name) != 0)
        i++;
    return &im.tensor[i];
}

TEST(matrix_bad, what_does_not_fit_is_refused_by_name)
{
    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        const struct refusal *r = &refusals[i];
        struct matrix m;
        struct err err = {0};
        begin_case(r->name);
        struct tensor *t = tensor_named(r->tensor);
        if (r->change == MISSING)
            t->name.len--;
        else if (r->change == DTYPE)
            t->dtype = (enum dtype)r->to;
        else
            t->dim[r->change == ROWS] = r->to;
        image_end(&im);
        CHECK_EQ(find_matrix(&m, &err), INFLIGHT_E_MODEL);
        CHECK_TEXT(err.text, r->why);
        end_case();
    }
}

static void refuse_size(const char *name, int N, const char *why)
{
    struct matrix m;
    struct err err = {0};
    begin_case(name);
    image_end(&im);
    d.N = N;
    CHECK_EQ(find_matrix(&m, &err), INFLIGHT_E_UNSUPPORTED);
    CHECK_TEXT(err.text, why);
    end_case();
}

TEST(matrix_bad, rows_that_words_do_not_hold_are_refused)
{
    refuse_size("AWQ of 128", 292,
                "m: 292 rows are not served by quant_method awq: a multiple of 8 is");
    refuse_size("int4 of ModelOpt", 45,
                "m: 45 rows are not served by quant_method modelopt: a multiple of 2 is");
}

TEST(matrix_bad, columns_that_groups_do_not_hold_are_refused)
{
    static const char *const names[] = {"NVFP4", "NVFP4 of ModelOpt", "MXFP4"};
    static const char *const why[] = {
        "m: 312 columns are not served by quant_method compressed-tensors: a multiple of 16 is",
        "m: 568 columns are not served by quant_method modelopt: a multiple of 16 is",
        "m: 280 columns are not served by quant_method compressed-tensors: a multiple of 32 is"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct matrix m;
        struct err err = {0};
        begin_case(names[i]);
        image_end(&im);
        d.K -= 8;
        CHECK_EQ(find_matrix(&m, &err), INFLIGHT_E_UNSUPPORTED);
        CHECK_TEXT(err.text, why[i]);
        end_case();
    }
}

TEST(matrix_bad, a_factor_that_is_no_number_above_zero_is_refused)
{
    const float bad[] = {0, -1, INFINITY, NAN};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct matrix m;
        struct err err = {0};
        char why[96];
        begin_case("NVFP4");
        memcpy(im.bytes + tensor_named("m.weight_global_scale")->offset, &bad[i], sizeof bad[i]);
        image_end(&im);
        CHECK_EQ(find_matrix(&m, &err), INFLIGHT_E_MODEL);
        (void)snprintf(why, sizeof why,
                       "model.safetensors: tensor m.weight_global_scale is %g, want a number above "
                       "0",
                       (double)bad[i]);
        CHECK_TEXT(err.text, why);
        end_case();
    }
}

TEST(matrix_bad, a_module_that_is_left_alone_must_be_plain)
{
    struct matrix m;
    struct err err = {0};
    begin_case("AWQ of 128");
    image_end(&im);
    scheme_close(&scheme);
    CHECK_EQ(find_matrix(&m, &err), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "model.safetensors: tensor m.qweight is of type I32, but config.json does "
                         "not say that it is quantized");
    im.tensors.n = 0;
    arena_release(&im.arena);
    image_end(&im);
    CHECK_EQ(find_matrix(&m, &err), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "tensor m.weight is missing");
    end_case();
}

TEST(matrix_bad, numbers_that_contradict_each_other_are_refused)
{
    struct matrix m;
    struct err err = {0};
    begin_case("W4A16 with zero points");
    const int64_t shape[2] = {41, 255};
    memcpy(im.bytes + tensor_named("m.weight_shape")->offset, shape, sizeof shape);
    image_end(&im);
    CHECK_EQ(find_matrix(&m, &err), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "model.safetensors: tensor m.weight_shape says 41 x 255, want 41 x 256");
    end_case();
    for (int32_t group = -1; group <= 4; group += 5) {
        char why[96];
        begin_case("GPTQ of 128");
        memcpy(im.bytes + tensor_named("m.g_idx")->offset + 70 * 4, &group, sizeof group);
        image_end(&im);
        CHECK_EQ(find_matrix(&m, &err), INFLIGHT_E_MODEL);
        (void)snprintf(why, sizeof why,
                       "model.safetensors: tensor m.g_idx: column 70 is in group %d of 4", group);
        CHECK_TEXT(err.text, why);
        end_case();
    }
}

/* Rows of a case in whose tensor bytes were changed at some place. */
static void refuse_rows(const char *name, const char *tensor, size_t at, const void *bytes,
                        size_t n, const char *why)
{
    struct matrix m;
    struct matrix_reader reader;
    struct weight_source source, rows;
    struct err err = {0};
    bool made = true;
    begin_case(name);
    memcpy(im.bytes + tensor_named(tensor)->offset + at, bytes, n);
    image_end(&im);
    CHECK_EQ(find_matrix(&m, &err), 0);
    matrix_reader_init(&reader, 2, &mem_system);
    CHECK_EQ(matrix_begin(&reader, &im.tensors, &m, &source, &err), 0);
    for (int first = 0; made && first < d.N; first += 16)
        made = weight_source_rows(&source, first / 16 % 2, first, MIN(16, d.N - first), &rows);
    CHECK(!made);
    CHECK(matrix_explain(&reader, &err) < 0);
    CHECK_TEXT(err.text, why);
    matrix_reader_close(&reader);
    end_case();
}

TEST(matrix_bad, rows_that_cannot_be_made_are_named_with_their_place)
{
    const float infinite = INFINITY, huge = 1e6f;
    const uint16_t half_nan = 0x7e00, bf16_large = bf16_of_float(70000);
    const uint8_t no_number = 0xff, nine = 9, low = 0x80;
    const uint32_t zeros = 0x7f7f7f80u;
    refuse_rows("fp8 of a channel", "m.weight_scale", 20 * 4, &infinite, 4,
                "the scale of row 20, column 0 is not a finite number");
    refuse_rows("NVFP4", "m.weight_scale", 20 * 20 + 3, &no_number, 1,
                "the scale of row 20, column 48 is not a finite number");
    refuse_rows("MXFP4", "m.weight_scale", 20 * 9 + 3, &no_number, 1,
                "the scale of row 20, column 96 is not a finite number");
    refuse_rows("GPTQ of 128", "m.scales", (299 + 17) * 2, &half_nan, 2,
                "the scale of row 17, column 128 is not a finite number");
    refuse_rows("int4 of ModelOpt, scaled inputs", "m.pre_quant_scale", 300 * 2, &half_nan, 2,
                "row 0, column 300 is more than f16 holds, 65504");
    refuse_rows("int8 of SmoothQuant, scaled inputs", "m.pre_quant_scale", 100 * 4, &infinite, 4,
                "the scale of input 100 is not a finite number");
    refuse_rows("fp8 of a channel", "m.weight", 20 * 511 + 300, &no_number, 1,
                "row 20, column 300 is not a number");
    refuse_rows("fp8 of DeepSeek", "m.weight", 20 * 512 + 300, &no_number, 1,
                "row 20, column 300 is not a number");
    refuse_rows("fp8 of blocks that rows do not consist of", "m.weight", 20 * 576 + 300, &no_number,
                1, "row 20, column 300 is not a number");
    refuse_rows("fp8 of blocks that rows do not consist of", "m.weight_scale_inv", 0, &huge, 4,
                "row 0, column 0 is more than f16 holds, 65504");
    refuse_rows("W4A16 of 128", "m.weight_scale", 2, &bf16_large, 2,
                "row 0, column 128 is more than int4_128 holds, 65504");
    refuse_rows("int4 in bytes", "m.weight", 17 * 128 + 5, &nine, 1,
                "row 17, column 5 is 9: 4 bits hold -8 to 7");
    refuse_rows("int4 in bytes", "m.weight", 17 * 128 + 5, &low, 1,
                "row 17, column 5 is -128: 4 bits hold -8 to 7");
    refuse_rows("int4 in bytes with zero points", "m.weight_zero_point", 18, &nine, 1,
                "the zero point of row 18, column 0 is 9, want -8 to 7");
    refuse_rows("GPTQ of 8 bits", "m.qzeros", 13 * 4, &zeros, 4,
                "the zero point of row 0, column 128 is 1 above the middle, which is served alone");
}

static void *no_alloc(void *user, uint64_t bytes, uint64_t align)
{
    (void)user, (void)bytes, (void)align;
    return NULL;
}

TEST(matrix_bad, without_memory_it_says_how_much)
{
    static const struct mem none = {.alloc = no_alloc};
    struct matrix m;
    struct matrix_reader reader;
    struct weight_source rows;
    struct err err = {0};
    begin_case("AWQ of 128");
    image_end(&im);
    CHECK_EQ(find_matrix(&m, &err), 0);
    matrix_reader_init(&reader, 4, &none);
    CHECK_EQ(matrix_begin(&reader, &im.tensors, &m, &rows, &err), INFLIGHT_E_NOMEM);
    CHECK(strstr(err.text, "of rows that are made"));
    matrix_reader_close(&reader);
    end_case();
}
