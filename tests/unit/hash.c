/* The map from byte strings: keys of every length, and what is almost a key. */
#include "t.h"

#include "plugin/base/hash.h"

#define LONGEST 40

static struct arena arena;

TEST(hash, keys_of_every_length_are_found_and_nothing_else)
{
    struct hash hash;
    char key[LONGEST];
    arena_init(&arena, &mem_system);
    CHECK(hash_init(&hash, &arena, LONGEST));
    for (size_t i = 0; i < LONGEST; i++)
        key[i] = (char)('a' + i % 26);
    for (size_t len = 0; len < LONGEST; len++)
        CHECK(hash_put(&hash, key, len, (int32_t)len));
    CHECK_EQ(hash.n, LONGEST);
    for (size_t len = 0; len < LONGEST; len++) {
        CHECK_EQ(hash_find(&hash, key, len, -1), len);
        for (size_t i = 0; i < len; i++) {
            char other[LONGEST];
            memcpy(other, key, LONGEST);
            other[i] = '!';
            CHECK_EQ(hash_find(&hash, other, len, -1), -1);
        }
    }
    arena_release(&arena);
}

TEST(hash, more_keys_than_there_is_room_for_are_refused)
{
    struct hash hash;
    const char keys[] = "abcdefghijk";
    arena_init(&arena, &mem_system);
    CHECK(hash_init(&hash, &arena, 8));
    for (size_t i = 0; i < 8; i++)
        CHECK(hash_put(&hash, keys + i, 1, (int32_t)i));
    CHECK(!hash_put(&hash, keys + 8, 1, 8));
    CHECK(hash_put(&hash, keys + 3, 1, 30)); /* replaces */
    CHECK_EQ(hash_find(&hash, "d", 1, -1), 30);
    CHECK_EQ(hash_find(&hash, "i", 1, -1), -1);
    arena_release(&arena);
}

/* Each byte of a key counts, wherever it stands and whatever follows. */
TEST(hash, texts_that_differ_in_one_bit_differ_in_hash)
{
    uint8_t text[LONGEST] = {0}, copy[2 * LONGEST];
    for (size_t len = 1; len <= LONGEST; len++) {
        uint64_t hash = hash_bytes(text, len, 7);
        CHECK(hash != hash_bytes(text, len - 1, 7));
        CHECK(hash != hash_bytes(text, len, 8));
        for (size_t bit = 0; bit < 8 * len; bit++) {
            text[bit / 8] ^= (uint8_t)(1u << bit % 8);
            CHECK(hash_bytes(text, len, 7) != hash);
            text[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        /* Nothing behind the text, and no alignment, has a say. */
        for (size_t at = 0; at < 8; at++) {
            memset(copy, 0xff, sizeof copy);
            memcpy(copy + at, text, len);
            CHECK_EQ(hash_bytes(copy + at, len, 7), hash);
        }
    }
}
