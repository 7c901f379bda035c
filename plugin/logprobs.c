/* The token's text can be half a code point, so its bytes stand beside it. A control
 * token has no bytes; its written form stands for the text. */
#include "logprobs.h"

#include "base/number.h"

#include <math.h>

#define IMPOSSIBLE (-9999.0) /* OpenAI's number for minus infinity, which JSON has not */

static void print_one(struct buf *out, const struct tokenizer *tokenizer, int32_t token,
                      float logprob)
{
    struct str piece = tokenizer_piece(tokenizer, token);
    struct str text = piece.len ? piece : tokenizer_name(tokenizer, token);
    buf_put_text(out, "\"token\":");
    buf_put_json(out, text.ptr, text.len);
    buf_put_text(out, ",\"logprob\":");
    number_put(isfinite(logprob) ? (double)logprob : IMPOSSIBLE, out);
    buf_put_text(out, ",\"bytes\":");
    if (piece.len == 0)
        buf_put_text(out, "null");
    for (size_t i = 0; i < piece.len; i++)
        buf_format(out, "%c%u", i ? ',' : '[', (unsigned)(uint8_t)piece.ptr[i]);
    if (piece.len)
        buf_put_char(out, ']');
}

void logprobs_print(struct buf *out, const struct tokenizer *tokenizer,
                    const struct sample_output *output)
{
    buf_put_char(out, '{');
    print_one(out, tokenizer, output->token, output->logprob);
    buf_put_text(out, ",\"top_logprobs\":[");
    for (int32_t i = 0; i < output->n_top; i++) {
        buf_put_text(out, i ? ",{" : "{");
        print_one(out, tokenizer, output->top[i].token, output->top[i].logprob);
        buf_put_char(out, '}');
    }
    buf_put_text(out, "]}");
}
