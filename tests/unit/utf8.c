/* UTF-8 after the Unicode standard's table of well-formed sequences. */
#include "plugin/text/nfc.h"
#include "plugin/base/utf8.h"
#include "t.h"

/* Cuts bytes into sequences, written as W, P, B and their lengths. */
static const char *kinds(const char *bytes, size_t len)
{
    static char out[64];
    size_t n = 0, taken;
    for (size_t at = 0; at < len && n + 3 < sizeof out; at += taken) {
        out[n++] = "WPB"[utf8_next(bytes + at, len - at, &taken)];
        out[n++] = (char)('0' + taken);
    }
    out[n] = 0;
    return out;
}

TEST(utf8, the_first_and_last_code_point_of_each_length_are_whole)
{
    CHECK_TEXT(kinds("\x00\x7f", 2), "W1W1");
    CHECK_TEXT(kinds("\xc2\x80\xdf\xbf", 4), "W2W2");
    CHECK_TEXT(kinds("\xe0\xa0\x80\xef\xbf\xbf", 6), "W3W3");
    CHECK_TEXT(kinds("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8), "W4W4");
    CHECK_TEXT(kinds("\xed\x9f\xbf\xee\x80\x80", 6), "W3W3");
}

TEST(utf8, overlong_forms_surrogates_and_too_large_ones_are_broken)
{
    CHECK_TEXT(kinds("\xc0\x80", 2), "B1B1");
    CHECK_TEXT(kinds("\xc1\xbf", 2), "B1B1");
    CHECK_TEXT(kinds("\xe0\x9f\xbf", 3), "B1B1B1");
    CHECK_TEXT(kinds("\xed\xa0\x80", 3), "B1B1B1");
    CHECK_TEXT(kinds("\xf0\x8f\xbf\xbf", 4), "B1B1B1B1");
    CHECK_TEXT(kinds("\xf4\x90\x80\x80", 4), "B1B1B1B1");
    CHECK_TEXT(kinds("\xf5\xff", 2), "B1B1");
}

/* The example of the standard's section 3.9, table 3-8 and the ones after it. */
TEST(utf8, broken_sequences_are_cut_into_maximal_subparts)
{
    CHECK_TEXT(kinds("\x61\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64", 13),
               "W1B3B2B1W1B1W1B1B1W1");
    CHECK_TEXT(kinds("\xf0\x90\x80\x41", 4), "B3W1");
    CHECK_TEXT(kinds("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", 9), "B2B1B3B2W1");
}

TEST(utf8, a_cut_off_sequence_is_partial_only_at_the_end)
{
    CHECK_TEXT(kinds("\xf0\x9f\x98", 3), "P3");
    CHECK_TEXT(kinds("\xe2\x82", 2), "P2");
    CHECK_TEXT(kinds("a\xc3", 2), "W1P1");
    CHECK_TEXT(kinds("\xe0", 1), "P1");
}

TEST(utf8, runs_of_valid_and_invalid_bytes_are_measured)
{
    const char text[] = "plain ASCII text, \xc3\xa9\xff\xf0\x9f"
                        "end";
    CHECK_EQ(utf8_valid(text, sizeof text - 1), 20);
    CHECK_EQ(utf8_invalid(text + 20, sizeof text - 21), 3);
    CHECK_EQ(utf8_valid("", 0), 0);
    CHECK_EQ(utf8_invalid("", 0), 0);
    CHECK_EQ(utf8_valid("0123456\xff", 8), 7);
    CHECK_EQ(utf8_invalid("\xff\xfe\xe2\x82", 4), 4);
}

static bool normalises_as(const char *text, const char *want, bool compatible)
{
    struct buf scratch, out;
    buf_init(&scratch, &mem_system);
    buf_init(&out, &mem_system);
    nfc_put((struct str){text, strlen(text)}, compatible, &scratch, &out);
    bool same = out.len == strlen(want) && (!out.len || memcmp(out.ptr, want, out.len) == 0);
    buf_release(&scratch);
    buf_release(&out);
    return same;
}

static bool normalises(const char *text, const char *want)
{
    return normalises_as(text, want, false);
}

TEST(nfc, characters_compose_with_the_marks_that_follow)
{
    CHECK(normalises("", ""));
    CHECK(normalises("plain", "plain"));
    CHECK(normalises("re\u0301sume\u0301 x", "r\u00e9sum\u00e9 x"));
    CHECK(normalises("\u212b\u2126", "\u00c5\u03a9"));
    CHECK(normalises("\u1100\u1161\u11a8", "\uac01"));
    CHECK(normalises("\u0301a", "\u0301a"));
    CHECK(normalises("\u0958", "\u0915\u093c")); /* excluded from composition */
}

TEST(nfc, marks_come_into_the_order_of_their_classes)
{
    CHECK(normalises("q\u0307\u0323", "q\u0323\u0307"));
    CHECK(normalises("a\u0302\u0301\u0323", "\u1ead\u0301"));
    CHECK(normalises("\u1e9b\u0323", "\u1e9b\u0323"));
}

TEST(nfc, text_below_u0300_needs_no_work)
{
    CHECK(!nfc_needed((struct str){"na\u00efve \u02ff", 9}, false));
    CHECK(nfc_needed((struct str){"e\u0301", 3}, false));
    CHECK(nfc_needed((struct str){"\u00b2", 2}, true));
    CHECK(!nfc_needed((struct str){"plain", 5}, true));
}

TEST(nfc, the_compatible_form_takes_characters_apart_and_composes)
{
    CHECK(normalises_as("x\u00b2 \ufb01n \uff21", "x2 fin A", true));
    CHECK(normalises_as("e\u0301\u00a0\u2126", "\u00e9 \u03a9", true));
    /* The longest of all. */
    CHECK(normalises_as("\ufdfa",
                        "\u0635\u0644\u0649 \u0627\u0644\u0644\u0647 "
                        "\u0639\u0644\u064a\u0647 \u0648\u0633\u0644\u0645",
                        true));
}

/* 256 Ki marks of a high class before as many of a low one. */
TEST(nfc, long_runs_of_marks_take_linear_time)
{
    static char text[1 << 20];
    struct buf scratch, out;
    for (size_t i = 0; i < sizeof text; i += 2)
        memcpy(text + i, i < sizeof text / 2 ? "\u0301" : "\u0323", 2);
    buf_init(&scratch, &mem_system);
    buf_init(&out, &mem_system);
    nfc_put((struct str){text, sizeof text}, false, &scratch, &out);
    CHECK_EQ(out.len, sizeof text);
    CHECK(out.len == sizeof text && memcmp(out.ptr, "\u0323", 2) == 0 &&
          memcmp(out.ptr + out.len - 2, "\u0301", 2) == 0);
    buf_release(&scratch);
    buf_release(&out);
}
