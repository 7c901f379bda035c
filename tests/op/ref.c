#include "ref.h"

#include <math.h>
#include <stdlib.h>

/* out = x / sqrt(mean(x^2) + eps) * weight; a copy if weight is NULL. out may be x. */
static void norm(double *out, const double *x, const float *weight, double eps, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    double factor = 1 / sqrt(sum / n + eps);
    for (int i = 0; i < n; i++)
        out[i] = weight ? x[i] * factor * (double)weight[i] : x[i];
}

/* out = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias. */
static void layer_norm(double *out, const double *x, const float *weight, const float *bias,
                       double eps, int n)
{
    double mean = 0, variance = 0;
    for (int i = 0; i < n; i++)
        mean += x[i] / n;
    for (int i = 0; i < n; i++)
        variance += (x[i] - mean) * (x[i] - mean) / n;
    for (int i = 0; i < n; i++)
        out[i] =
            (x[i] - mean) / sqrt(variance + eps) * (double)weight[i] + (bias ? (double)bias[i] : 0);
}

static double gelu(double x)
{
    return x / 2 * erfc(-x / sqrt(2));
}

static double gelu_tanh(double x)
{
    return x / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

static double dot(const double *x, const float *row, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * (double)row[i];
    return sum;
}

static void ref_rotary(const struct ref_rotary *rotary, int t, int position)
{
    int dim = rotary->dim, half = dim / 2;
    for (int i = 0; i < half && rotary->out; i++) {
        double angle = (double)position * (double)rotary->freq[i];
        rotary->out[t * dim + i] = cos(angle) * rotary->scale;
        rotary->out[t * dim + half + i] = sin(angle) * rotary->scale;
    }
}

void ref_embed(const struct ref_embed *op, const struct batch *batch)
{
    for (int t = 0; t < batch->T; t++) {
        const float *row = op->table + (size_t)batch->token[t] * (size_t)op->D;
        const float *place = op->position ? op->position + batch->position[t] * op->D : NULL;
        for (int i = 0; i < op->D; i++)
            op->x[t * op->D + i] = (double)row[i] * op->scale + (place ? (double)place[i] : 0);
        for (int i = 0; i < ROTARY_KINDS; i++)
            ref_rotary(&op->rotary[i], t, batch->position[t]);
    }
}

void ref_add_norm(const struct ref_add_norm *op, const struct batch *batch)
{
    double *added = malloc((size_t)op->D * sizeof *added);
    const int parts = op->parts ? op->parts : 1;
    for (int part = 0; part < batch->T * parts; part++) {
        const int at = part / parts * op->ld + part % parts * op->D;
        double *x = op->x + at;
        if (op->norm_kind == NORM_LAYER)
            layer_norm(added, op->y + at, op->norm, op->norm_bias, op->eps, op->D);
        else
            norm(added, op->y + at, op->norm, op->eps, op->D);
        for (int i = 0; i < op->D; i++)
            x[i] = ((op->is_first ? 0 : x[i]) + added[i]) * (op->factor ? (double)*op->factor : 1);
    }
    free(added);
}

/* Output i of token t, whose normalized row is x. */
static double part_output(const struct ref_linear *op, int part, int t, const double *x, int i)
{
    const struct ref_part *p = &op->part[part];
    return dot(p->x ? p->x + t * op->D : x, p->weight + (size_t)i * (size_t)op->D, op->D) +
           (p->bias ? (double)p->bias[i] : 0);
}

/* One token; x is normalized already. */
static void linear_token(const struct ref_linear *op, int t, const double *x, double *y)
{
    if (epilogue_is_gated(op->epilogue)) {
        for (int i = 0; i < op->part[0].N; i++) {
            double gate = part_output(op, 0, t, x, i);
            y[op->part[0].column + i] =
                (op->epilogue == EPILOGUE_GLU_SILU ? silu(gate) : gelu_tanh(gate)) *
                part_output(op, 1, t, x, i);
        }
        return;
    }
    for (int p = 0; p < op->n_part; p++)
        for (int i = 0; i < op->part[p].N; i++) {
            double *to = &y[op->part[p].column + i];
            double value = part_output(op, p, t, x, i);
            *to = op->epilogue == EPILOGUE_ADD         ? *to + value
                  : op->epilogue == EPILOGUE_GELU      ? gelu(value)
                  : op->epilogue == EPILOGUE_GELU_TANH ? gelu_tanh(value)
                  : op->epilogue == EPILOGUE_RELU2     ? fmax(value, 0) * fmax(value, 0)
                  : op->epilogue == EPILOGUE_GELU_TIMES
                      ? gelu_tanh(value) * (double)op->factor[t * op->ld_factor + i]
                      : value;
        }
}

void ref_linear(const struct ref_linear *op, const struct batch *batch)
{
    double *x = malloc((size_t)op->D * sizeof *x);
    for (int t = 0; t < batch->T; t++) {
        if (op->norm_kind == NORM_LAYER && op->norm)
            layer_norm(x, op->x + t * op->D, op->norm, op->norm_bias, op->eps, op->D);
        else
            norm(x, op->x + t * op->D, op->norm, op->eps, op->D);
        linear_token(op, t, x, op->y + t * op->ldy);
    }
    free(x);
}

void ref_gate(const struct ref_gate *op, const struct batch *batch)
{
    double *n = malloc((size_t)op->D * sizeof *n);
    for (int t = 0; t < batch->T; t++) {
        norm(n, op->x + t * op->D, op->norm, op->eps, op->D);
        const double share = 1 / (1 + exp(-dot(n, op->gate, op->D)));
        for (int i = 0; i < op->F; i++)
            op->y[t * op->F + i] = share * op->from[t * op->F + i];
    }
    free(n);
}

static double bias_at(const float *bias, int i)
{
    return bias ? (double)bias[i] : 0;
}

static double clamped_glu(double gate, double up, double limit)
{
    const double x = fmin(gate, limit);
    return x / (1 + exp(-1.702 * x)) * (1 + fmax(-limit, fmin(up, limit)));
}

/* What expert e makes of a normalized token, times share, added to y. */
static void add_expert(const struct ref_experts *op, int e, const double *n, double share,
                       double *y)
{
    const struct ref_expert *expert = &op->expert[e];
    double *hidden = malloc((size_t)op->F * sizeof *hidden);
    for (int i = 0; i < op->F; i++) {
        const double gate = dot(n, expert->gate + i * op->D, op->D) + bias_at(expert->gate_bias, i);
        const double up = dot(n, expert->up + i * op->D, op->D) + bias_at(expert->up_bias, i);
        hidden[i] = op->limit > 0 ? clamped_glu(gate, up, op->limit) : silu(gate) * up;
    }
    for (int i = 0; i < op->D; i++)
        y[i] +=
            share * (dot(hidden, expert->down + i * op->F, op->F) + bias_at(expert->down_bias, i));
    free(hidden);
}

/* An expert is chosen if fewer than U have a larger number, or the same and stand before it. */
static bool is_chosen(const struct ref_experts *op, const double *by, int e)
{
    int before = 0;
    for (int i = 0; i < op->E; i++)
        before += by[i] > by[e] || (by[i] >= by[e] && i < e);
    return before < op->U;
}

static bool is_logistic(const struct ref_experts *op)
{
    return op->shares == SHARES_LOGISTIC || op->shares == SHARES_OF_LOGISTIC;
}

/* Scores become what shares are made of; by: what experts are chosen by. */
static void weigh(const struct ref_experts *op, double *score, double *by)
{
    double sum = 0;
    for (int e = 0; e < op->E; e++) {
        score[e] = is_logistic(op) ? 1 / (1 + exp(-score[e])) : exp(score[e]);
        sum += score[e];
    }
    for (int e = 0; e < op->E; e++)
        by[e] = score[e] / (is_logistic(op) ? 1 : sum) + bias_at(op->choice_bias, e);
}

void ref_experts(const struct ref_experts *op, const struct batch *batch)
{
    double *n = malloc((size_t)op->D * sizeof *n), *score = malloc((size_t)op->E * sizeof *score);
    double *by = malloc((size_t)op->E * sizeof *by);
    for (int t = 0; t < batch->T; t++) {
        double sum = 0;
        norm(n, op->x + t * op->D, op->norm, op->eps, op->D);
        for (int e = 0; e < op->E; e++)
            score[e] = dot(n, op->router + e * op->D, op->D) + bias_at(op->router_bias, e);
        weigh(op, score, by);
        for (int e = 0; e < op->E; e++)
            sum += op->shares == SHARES_OF_ALL || is_chosen(op, by, e) ? score[e] : 0;
        if (op->shares == SHARES_LOGISTIC)
            sum = 1;
        for (int e = 0; e < op->E; e++)
            if (is_chosen(op, by, e))
                add_expert(op, e, n, score[e] / sum * op->factor, op->x + t * op->D);
    }
    free(n);
    free(score);
    free(by);
}

void ref_head(const struct ref_head *op, const struct batch *batch)
{
    double *x = malloc((size_t)op->D * sizeof *x);
    for (int r = 0; r < batch->R; r++) {
        const double *row = op->x + batch->row[r] * op->D;
        if (op->norm_kind == NORM_LAYER)
            layer_norm(x, row, op->norm, op->norm_bias, op->eps, op->D);
        else
            norm(x, row, op->norm, op->eps, op->D);
        for (int i = 0; i < op->V; i++) {
            const double logit = dot(x, op->weight + (size_t)i * (size_t)op->D, op->D) +
                                 (op->bias ? (double)op->bias[i] : 0);
            op->logits[(size_t)r * (size_t)op->V + (size_t)i] =
                op->cap > 0 ? op->cap * tanh(logit / op->cap) : logit;
        }
    }
    free(x);
}

static int ref_rotary_dim(const struct ref_attend *op)
{
    return op->rotary_dim ? op->rotary_dim : op->dim;
}

/* out = the head x, normalized and rotated by the angles of its token, if there are any. */
static void rotate(double *out, const double *x, const float *weight, const double *rotary,
                   const struct ref_attend *op)
{
    int half = ref_rotary_dim(op) / 2;
    norm(out, x, weight, op->eps, op->dim);
    for (int i = 0; rotary && i < half; i++) {
        int a = op->rope == ROPE_HALF ? i : 2 * i;
        int b = op->rope == ROPE_HALF ? i + half : 2 * i + 1;
        double u = out[a], v = out[b];
        out[a] = u * rotary[i] - v * rotary[half + i];
        out[b] = u * rotary[half + i] + v * rotary[i];
    }
}

static double score(const struct ref_attend *op, const double *q, const double *k, int h,
                    int distance)
{
    double s = 0;
    for (int i = 0; i < op->dim; i++)
        s += q[i] * k[i] * op->scale;
    s = op->cap > 0 ? op->cap * tanh(s / op->cap) : s;
    return op->slopes ? s - (double)op->slopes[h] * distance : s;
}

/* y = softmax(scores) v of head h over the last positions of n that it sees, with a weight for its
 * sink that goes nowhere; k and v at stride. */
static void attend_head(const struct ref_attend *op, const double *q, const double *k,
                        const double *v, double *y, int n, int h)
{
    int stride = op->K * op->dim, first = op->window && n > op->window ? n - op->window : 0;
    double *p = malloc((size_t)n * sizeof *p);
    double most = op->sinks ? (double)op->sinks[h] : -INFINITY, sum = 0;
    for (int j = first; j < n; j++) {
        p[j] = score(op, q, k + j * stride, h, n - 1 - j);
        most = p[j] > most ? p[j] : most;
    }
    for (int j = first; j < n; j++)
        sum += p[j] = exp(p[j] - most);
    sum += op->sinks ? exp((double)op->sinks[h] - most) : 0;
    for (int i = 0; i < op->dim; i++) {
        y[i] = 0;
        for (int j = first; j < n; j++)
            y[i] += p[j] / sum * v[j * stride + i];
    }
    free(p);
}

static double dot_self(const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum;
}

/* Token t of the step, the next position of sequence s. */
static void attend_token(const struct ref_attend *op, int s, int t, int position)
{
    int dim = op->dim, width = op->K * dim;
    const double *q = op->qkv + t * (op->H + (op->v_of_k ? 1 : 2) * op->K) * dim;
    const double *rotary = op->rotary ? op->rotary + t * ref_rotary_dim(op) : NULL;
    for (int h = 0; h < op->K; h++) {
        const double *k = q + (op->H + h) * dim, *v = op->v_of_k ? k : k + width;
        const double size = op->v_norm ? sqrt(dot_self(v, dim) / dim + op->eps) : 1;
        rotate(op->k[s] + position * width + h * dim, k, op->k_norm, rotary, op);
        for (int i = 0; i < dim; i++)
            op->v[s][position * width + h * dim + i] = v[i] / size;
    }
    double *rotated = malloc((size_t)dim * sizeof *rotated);
    for (int h = 0; h < op->H; h++) {
        int kv = h / (op->H / op->K) * dim;
        rotate(rotated, q + h * dim, op->q_norm, rotary, op);
        for (int i = 0; i < dim && op->growth > 0; i++)
            rotated[i] *= 1 + op->growth * log(1 + floor((double)position / op->growth_from));
        attend_head(op, rotated, op->k[s] + kv, op->v[s] + kv, op->y + (t * op->H + h) * dim,
                    position + 1, h);
    }
    free(rotated);
}

void ref_attend(const struct ref_attend *op, const struct batch *batch)
{
    for (int s = 0; s < batch->S; s++)
        for (int i = 0; i < batch->seq[s].n; i++)
            attend_token(op, s, batch->seq[s].first + i, batch->seq[s].position + i);
}
