/* Opcodes taken apart at their dots. */
#include "alu.h"

static const struct {
    const char *word;
    uint32_t bit;
} modifiers[] = {
    {"rn", ALU_RN},     {"rz", ALU_RZ},           {"rm", ALU_RM},
    {"rp", ALU_RP},     {"rna", ALU_RNA},         {"rni", ALU_RNI},
    {"rzi", ALU_RZI},   {"rmi", ALU_RMI},         {"rpi", ALU_RPI},
    {"ftz", ALU_FTZ},   {"sat", ALU_SAT},         {"satfinite", ALU_SATFINITE},
    {"relu", ALU_RELU}, {"full", ALU_FULL},       {"approx", ALU_APPROX},
    {"NaN", ALU_NAN},   {"xorsign", ALU_XORSIGN}, {"abs", ALU_ABS},
    {"or", ALU_OR},     {"and", ALU_AND},         {"xor", ALU_XOR},
};

static uint32_t modifier_bit(const char *word, size_t n)
{
    for (size_t i = 0; i < sizeof modifiers / sizeof *modifiers; i++)
        if (strlen(modifiers[i].word) == n && memcmp(modifiers[i].word, word, n) == 0)
            return modifiers[i].bit;
    return 0;
}

bool alu_split(const char *opcode, struct alu_name *name)
{
    *name = (struct alu_name){0};
    for (const char *at = opcode;;) {
        size_t n = strcspn(at, ".");
        uint32_t bit =
            at == opcode ? 0 : modifier_bit(at, n); /* abs, and, or, xor come first too */
        if (name->modifiers & bit)
            return false;
        name->modifiers |= bit;
        if (!bit) {
            if (name->n == ALU_WORDS || n == 0 || n >= sizeof name->word[0])
                return false;
            memcpy(name->word[name->n++], at, n);
        }
        if (at[n] == '\0')
            return true;
        at += n + 1;
    }
}
