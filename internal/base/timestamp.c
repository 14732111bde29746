/*
 * Civil date arithmetic after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"
 * (https://howardhinnant.github.io/date_algorithms.html): no time zone data, no locale, no lock.
 */
#include "base/timestamp.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

#define SECONDS_PER_DAY 86400

static int64_t days_from_civil(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    unsigned year_of_era = (unsigned)(year - era * 400);
    unsigned day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + (int64_t)day_of_era - 719468;
}

static void civil_from_days(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned day_of_era = (unsigned)(days - era * 146097);
    unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 -
                            day_of_era / 146096) /
                           365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned shifted_month = (5 * day_of_year + 2) / 153;
    *ret_day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    *ret_month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
    *ret_year = (int64_t)year_of_era + era * 400 + (*ret_month <= 2);
}

static void put_digits(char *at, int count, uint64_t value)
{
    for (int i = count - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

void timestamp_format(int64_t time_ns, int digits, char ret_text[TIMESTAMP_TEXT_SIZE])
{
    int64_t seconds = time_ns / NS_PER_SECOND;
    int64_t fraction = time_ns % NS_PER_SECOND;
    if (fraction < 0) {
        fraction += NS_PER_SECOND;
        seconds--;
    }
    int64_t days = seconds / SECONDS_PER_DAY;
    int64_t second_of_day = seconds % SECONDS_PER_DAY;
    if (second_of_day < 0) {
        second_of_day += SECONDS_PER_DAY;
        days--;
    }
    int64_t year;
    unsigned month;
    unsigned day;
    civil_from_days(days, &year, &month, &day);
    char *p = ret_text;
    put_digits(p, 4, (uint64_t)year);
    p[4] = '-';
    put_digits(p + 5, 2, month);
    p[7] = '-';
    put_digits(p + 8, 2, day);
    p[10] = 'T';
    put_digits(p + 11, 2, (uint64_t)second_of_day / 3600);
    p[13] = ':';
    put_digits(p + 14, 2, (uint64_t)second_of_day / 60 % 60);
    p[16] = ':';
    put_digits(p + 17, 2, (uint64_t)second_of_day % 60);
    p += 19;
    if (digits > 0) {
        uint64_t value = (uint64_t)fraction;
        for (int i = digits; i < 9; i++) {
            value /= 10;
        }
        *p = '.';
        put_digits(p + 1, digits, value);
        p += 1 + digits;
    }
    p[0] = 'Z';
    p[1] = '\0';
}

/* -1 where a byte is no digit. */
static int take_digits(const char *text, int count)
{
    int value = 0;
    for (int i = 0; i < count; i++) {
        unsigned digit = (unsigned)((unsigned char)text[i]) - '0';
        if (digit > 9) {
            return -1;
        }
        value = value * 10 + (int)digit;
    }
    return value;
}

struct civil {
    int year, month, day, hour, minute, second;
};

static int days_of_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

static bool parse_civil(const char *text, struct civil *ret)
{
    struct civil c = {take_digits(text, 4),      take_digits(text + 5, 2),
                      take_digits(text + 8, 2),  take_digits(text + 11, 2),
                      take_digits(text + 14, 2), take_digits(text + 17, 2)};
    bool marks = text[4] == '-' && text[7] == '-' && (text[10] == 'T' || text[10] == ' ') &&
                 text[13] == ':' && text[16] == ':';
    bool ranges = c.year >= 0 && c.month >= 1 && c.month <= 12 && c.day >= 1 &&
                  c.day <= days_of_month(c.year, c.month) && c.hour >= 0 && c.hour < 24 &&
                  c.minute >= 0 && c.minute < 60 && c.second >= 0 && c.second <= 60;
    *ret = c;
    return marks && ranges;
}

/* Takes `.digits`; returns the bytes taken or -EINVAL. */
static int parse_fraction(const char *text, size_t size, int64_t *ret_ns)
{
    *ret_ns = 0;
    if (size == 0 || text[0] != '.') {
        return 0;
    }
    size_t i = 1;
    int64_t scale = NS_PER_SECOND / 10;
    for (; i < size; i++) {
        unsigned digit = (unsigned)((unsigned char)text[i]) - '0';
        if (digit > 9) {
            break;
        }
        *ret_ns += (int64_t)digit * scale;
        scale /= 10;
    }
    return i == 1 ? -EINVAL : (int)i;
}

/* Takes `Z` or `+hh:mm`; returns the bytes taken or -EINVAL. */
static int parse_zone(const char *text, size_t size, int64_t *ret_offset_seconds)
{
    *ret_offset_seconds = 0;
    if (size >= 1 && (text[0] == 'Z' || text[0] == 'z')) {
        return 1;
    }
    if (size < 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':') {
        return -EINVAL;
    }
    int hours = take_digits(text + 1, 2);
    int minutes = take_digits(text + 4, 2);
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) {
        return -EINVAL;
    }
    int64_t offset = (int64_t)hours * 3600 + (int64_t)minutes * 60;
    *ret_offset_seconds = text[0] == '-' ? -offset : offset;
    return 6;
}

int timestamp_parse(const char *text, size_t size, int64_t *ret_time_ns)
{
    struct civil c;
    if (size < 20 || !parse_civil(text, &c)) {
        return -EINVAL;
    }
    int64_t fraction;
    int64_t offset;
    int taken = parse_fraction(text + 19, size - 19, &fraction);
    if (taken < 0) {
        return taken;
    }
    size_t at = 19 + (size_t)taken;
    int zone = parse_zone(text + at, size - at, &offset);
    if (zone < 0) {
        return zone;
    }
    if (c.year < 1678 || c.year > 2261) {
        return -ERANGE;
    }
    int64_t days = days_from_civil(c.year, (unsigned)c.month, (unsigned)c.day);
    int64_t seconds = days * SECONDS_PER_DAY + c.hour * 3600 + c.minute * 60 + c.second - offset;
    *ret_time_ns = seconds * NS_PER_SECOND + fraction;
    return (int)at + zone;
}
