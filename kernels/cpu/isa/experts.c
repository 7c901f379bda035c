/* The operation experts: scores of all of them, then each token's choice, then one product of the
 * tokens of each expert after the other, then their sums.
 *
 *   token        t0: e2 e0    t1: e0 e3    t2: e2 e3          choice, by rank
 *   slot          0  1    2  3  4  5
 *   expert       e0 e0   e2 e2 e3 e3                          first = 0 2 2 4 6
 *   token        t0 t1   t0 t2 t1 t2
 *
 * A slot is a row of what an expert makes of a token. A product gives a row the same bits whatever
 * stands beside it, so a token's sum does not depend on what others have chosen. */
#include "multiply.h"

#include "../../../plugin/base/base.h"

#include <math.h>

/* The expert with the largest score, and bias, of those that are not among the n chosen; of equals
 * the first. NaN comes behind all numbers. */
static int32_t best_of(const struct op_experts *op, const float *score,
                       const struct expert_choice *chosen, int n)
{
    int32_t best = -1;
    float most = 0;
    for (int32_t e = 0; e < op->E; e++) {
        const float value = op->choice_bias ? score[e] + op->choice_bias[e] : score[e];
        bool is_free = true;
        for (int i = 0; i < n; i++)
            is_free &= chosen[i].expert != e;
        bool is_better = best < 0 || value > most || (isnan(most) && !isnan(value));
        if (is_free && is_better) {
            best = e;
            most = value;
        }
    }
    return best;
}

/* Sum of e^(s - most) over all experts. */
static float sum_of_all(const struct op_experts *op, const float *score, float most)
{
    float sum = 0;
    for (int32_t e = 0; e < op->E; e++)
        sum += expf(score[e] - most);
    return sum;
}

/* Scores become p, see op_experts. */
static void make_p(const struct op_experts *op, float *score)
{
    float most = -INFINITY;
    if (shares_are_logistic(op->shares)) {
        for (int32_t e = 0; e < op->E; e++)
            score[e] = 1 / (1 + expf(-score[e]));
        return;
    }
    for (int32_t e = 0; e < op->E; e++)
        most = fmaxf(most, score[e]);
    const float sum = sum_of_all(op, score, most);
    for (int32_t e = 0; e < op->E; e++)
        score[e] = expf(score[e] - most) / sum;
}

/* What shares are divided by. sum: of those that are chosen. */
static float divisor_of(const struct op_experts *op, const float *score, float most, float sum)
{
    switch (op->shares) {
    case SHARES_OF_ALL:
        return op->choice_bias ? 1 : sum_of_all(op, score, most);
    case SHARES_LOGISTIC:
        return 1;
    case SHARES_OF_LOGISTIC:
        return sum + SHARES_LEAST;
    default:
        return sum;
    }
}

static void choose_experts(const struct op_experts *op, float *score, struct expert_choice *choice)
{
    const bool has_p = op_experts_has_p(op);
    float sum = 0;
    if (has_p)
        make_p(op, score);
    for (int i = 0; i < op->U; i++)
        choice[i].expert = best_of(op, score, choice, i);
    const float most = score[choice[0].expert];
    for (int i = 0; i < op->U; i++) {
        const float of = score[choice[i].expert];
        choice[i].share = has_p ? of : expf(of - most);
        sum += choice[i].share;
    }
    const float divisor = divisor_of(op, score, most, sum);
    for (int i = 0; i < op->U; i++)
        choice[i].share = choice[i].share / divisor * op->factor;
}

/* Slots by experts, of each expert in the order of tokens. */
static void give_slots(const struct op_experts *op, int32_t T)
{
    const int32_t n = T * op->U;
    int32_t *first = op->first;
    memset(first, 0, (size_t)(op->E + 1) * sizeof *first);
    for (int32_t i = 0; i < n; i++)
        first[op->choice[i].expert + 1]++;
    for (int32_t e = 0; e < op->E; e++)
        first[e + 1] += first[e];
    /* Each beginning moves up to the next one while its slots are given, and then back. */
    for (int32_t i = 0; i < n; i++) {
        struct expert_choice *choice = &op->choice[i];
        choice->slot = first[choice->expert]++;
        op->token[choice->slot] = i / op->U;
    }
    memmove(first + 1, first, (size_t)op->E * sizeof *first);
    first[0] = 0;
    for (int32_t e = 0; e < op->E; e++)
        op->count[e] = first[e + 1] - first[e];
}

static void score(struct lane *lane, const struct op_experts *op, int32_t T)
{
    const struct linear_part part = {.weight = op->router, .bias = op->router_bias};
    const struct product product = {
        .in = {.x = op->x, .norm = op->norm, .eps = op->eps, .n = T, .K = op->D},
        .y = op->scores,
        .ldy = (size_t)op->E,
        .epilogue = EPILOGUE_STORE,
        .n_part = 1,
        .part = &part,
    };
    ISA_FN(multiply)(lane, &product);
}

/* That of expert e, of n values each; NULL: there is none. */
static const float *bias_of(const float *bias, int32_t e, size_t n)
{
    return bias ? bias + (size_t)e * n : NULL;
}

static void run_expert(struct lane *lane, const struct op_experts *op, int32_t e)
{
    const size_t slot = (size_t)op->first[e], D = (size_t)op->D, F = (size_t)op->F;
    const int32_t n = op->first[e + 1] - op->first[e];
    const struct linear_part gated[2] = {
        {.weight = &op->gate[e], .bias = bias_of(op->gate_bias, e, F)},
        {.weight = &op->up[e], .bias = bias_of(op->up_bias, e, F)},
    };
    const struct linear_part down = {.weight = &op->down[e], .bias = bias_of(op->down_bias, e, D)};
    const struct product inner = {
        .in = {.x = op->x,
               .row = op->token + slot,
               .norm = op->norm,
               .eps = op->eps,
               .n = n,
               .K = op->D},
        .y = op->hidden + slot * F,
        .ldy = F,
        .epilogue = op->limit > 0 ? EPILOGUE_GLU_CLAMPED : EPILOGUE_GLU_SILU,
        .limit = op->limit,
        .n_part = 2,
        .part = gated,
    };
    const struct product outer = {
        .in = {.x = op->hidden + slot * F, .n = n, .K = op->F},
        .y = op->answer + slot * D,
        .ldy = D,
        .epilogue = EPILOGUE_STORE,
        .n_part = 1,
        .part = &down,
    };
    if (n == 0)
        return;
    ISA_FN(multiply)(lane, &inner);
    ISA_FN(multiply)(lane, &outer);
}

static void add_answers(const struct op_experts *op, int32_t t)
{
    const struct expert_choice *choice = op->choice + (size_t)t * (size_t)op->U;
    float *x = op->x + (size_t)t * (size_t)op->D;
    for (int32_t d = 0; d < op->D; d += LANES) {
        const int n = MIN(op->D - d, LANES);
        vf sum = vf_zero();
        for (int i = 0; i < op->U; i++) {
            const float *answer = op->answer + (size_t)choice[i].slot * (size_t)op->D;
            sum = vf_fma(vf_set1(choice[i].share), vf_load_first(answer + d, n), sum);
        }
        vf_store_first(x + d, vf_add(vf_load_first(x + d, n), sum), n);
    }
}

int ISA_FN(experts)(struct lane *lane, const struct op_experts *op, const struct batch *batch)
{
    int first, last;
    score(lane, op, batch->T);
    lane_share(lane, batch->T, &first, &last);
    for (int t = first; t < last; t++)
        choose_experts(op, op->scores + (size_t)t * (size_t)op->E,
                       op->choice + (size_t)t * (size_t)op->U);
    lane_barrier(lane);
    if (lane->id == 0)
        give_slots(op, batch->T);
    lane_barrier(lane);
    for (int32_t e = 0; e < op->E; e++)
        run_expert(lane, op, e);
    for (int t = first; t < last; t++)
        add_answers(op, t);
    lane_barrier(lane);
    return 0;
}
