/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "daemon/config_private.h"

#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <string.h>

#include "libromfs/pack.h"

#define QUIET_MAX_MS 3600000u
#define IDLE_MAX_S 86400u
#define BAUD_MIN 300u
#define BAUD_MAX 4000000u

static int take_number(const char *value, unsigned min, unsigned max, unsigned *out,
	struct error *err)
{
	unsigned long n = 0;
	const char *p = value;

	for (; *p >= '0' && *p <= '9' && n <= max; p++)
		n = n * 10 + (unsigned long)(*p - '0');
	if (p == value || *p || n < min || n > max)
		return error_set(err, -EINVAL, "'%s' is no number from %u to %u", value, min, max);
	*out = (unsigned)n;
	return 0;
}

/* The index of `value` among `count` words. */
static int take_word(const char *value, const char *const words[], size_t count,
	const char *all, struct error *err)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(value, words[i]))
			return (int)i;
	return error_set(err, -EINVAL, "'%s' is none of %s", value, all);
}

static int take_yes_no(const char *value, bool *out, struct error *err)
{
	static const char *const words[] = {"no", "yes"};
	int r = take_word(value, words, ARRAY_SIZE(words), "yes, no", err);

	if (r < 0)
		return r;
	*out = r == 1;
	return 0;
}

static bool is_name(const char *s)
{
	size_t n = strlen(s);

	return n > 0 && n <= POLICY_TEXT_MAX && isascii((unsigned char)s[0]) &&
		isalnum((unsigned char)s[0]) &&
		strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			  "0123456789._-") == n;
}

int config_take_alias(char out[POLICY_TEXT_MAX + 1], const char *value, struct error *err)
{
	if (!is_name(value))
		return error_set(err, -EINVAL,
			"'%s' cannot be the name of a folder here: use up to %u letters, "
			"digits, '.', '_' and '-', the first a letter or a digit",
			value, POLICY_TEXT_MAX);
	snprintf(out, POLICY_TEXT_MAX + 1, "%s", value);
	return 0;
}

int config_take_owner(char out[POLICY_TEXT_MAX + 1], const char *value, struct error *err)
{
	if (!strcmp(value, "seat"))
		value = "";
	else if (!value[0] || strlen(value) > POLICY_TEXT_MAX || !getpwnam(value))
		return error_set(err, -EINVAL, "there is no user '%s' on this system", value);
	snprintf(out, POLICY_TEXT_MAX + 1, "%s", value);
	return 0;
}

int config_take_baud(unsigned *out, const char *value, struct error *err)
{
	return take_number(value, BAUD_MIN, BAUD_MAX, out, err);
}

int config_take_tty(char out[CONFIG_PATH_MAX + 1], const char *value, struct error *err)
{
	if (value[0] != '/' || strlen(value) > CONFIG_PATH_MAX)
		return error_set(err, -EINVAL,
			"'%s' is no absolute path of at most %u bytes, such as /dev/ttyS0", value,
			CONFIG_PATH_MAX);
	snprintf(out, CONFIG_PATH_MAX + 1, "%s", value);
	return 0;
}

/* HOST has no colon where it is not in brackets. */
static bool is_host(const char *s, size_t n)
{
	if (n > 2 && s[0] == '[' && s[n - 1] == ']')
		return strspn(s + 1, "0123456789abcdefABCDEF:.") == n - 2;
	return n > 0 && s[0] != '-' &&
		strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
		n;
}

int config_take_socket(char out[CONFIG_PATH_MAX + 1], const char *value, struct error *err)
{
	const char *colon = strrchr(value, ':');
	unsigned port;

	if (!colon || strlen(value) > CONFIG_PATH_MAX ||
		!is_host(value, (size_t)(colon - value)) ||
		take_number(colon + 1, 1, 65535, &port, NULL) < 0)
		return error_set(err, -EINVAL,
			"'%s' is no HOST:PORT, such as localhost:2217 or [::1]:2217", value);
	snprintf(out, CONFIG_PATH_MAX + 1, "%s", value);
	return 0;
}

static int take_usb(struct config_match *out, const char *value, struct error *err)
{
	const char *digits = "0123456789abcdefABCDEF";

	if (strlen(value) != 9 || strspn(value, digits) != 4 || value[4] != ':' ||
		strspn(value + 5, digits) != 4)
		return error_set(err, -EINVAL,
			"'usb:%s' is no USB id: write usb:VID:PID, four hexadecimal digits each, "
			"such as usb:2e8a:0005",
			value);
	out->kind = MATCH_USB;
	out->text = NULL;
	out->vendor_id = (uint16_t)strtoul(value, NULL, 16);
	out->product_id = (uint16_t)strtoul(value + 5, NULL, 16);
	return 0;
}

int config_take_match(struct config_match *out, const char *value, struct error *err)
{
	static const struct {
		const char *prefix;
		enum config_match_kind kind;
	} kinds[] = {{"alias:", MATCH_ALIAS}, {"serial:", MATCH_SERIAL}, {"path:", MATCH_PATH}};

	if (!strncmp(value, "usb:", 4))
		return take_usb(out, value + 4, err);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		size_t n = strlen(kinds[i].prefix);
		char *text;

		if (strncmp(value, kinds[i].prefix, n) != 0 || !value[n])
			continue;
		text = strdup(value + n);
		if (!text)
			return error_set(err, -ENOMEM, "out of memory");
		*out = (struct config_match){.kind = kinds[i].kind, .text = text};
		return 0;
	}
	return error_set(err, -EINVAL,
		"'%s' matches nothing: write alias:NAME, serial:NUMBER, usb:VID:PID or "
		"path:PATTERN",
		value);
}

/* --- what a policy is made of ---------------------------------------------------------- */

static int key_alias(struct policy *policy, const char *value, struct error *err)
{
	return config_take_alias(policy->alias, value, err);
}

static int key_align(struct policy *policy, const char *value, struct error *err)
{
	char text[POLICY_TEXT_MAX + 1];
	struct romfs_align align;
	int r;

	if (strlen(value) > POLICY_TEXT_MAX)
		return error_set(
			err, -EINVAL, "'%s' is longer than %u bytes", value, POLICY_TEXT_MAX);
	if (policy->n_aligns == POLICY_ALIGNS_MAX)
		return error_set(
			err, -EINVAL, "a board has at most %u alignments", POLICY_ALIGNS_MAX);
	snprintf(text, sizeof(text), "%s", value);
	r = romfs_align_parse(text, &align, err);
	if (r == 0)
		snprintf(policy->aligns[policy->n_aligns++], sizeof(policy->aligns[0]), "%s",
			value);
	return r;
}

static int key_baud(struct policy *policy, const char *value, struct error *err)
{
	return config_take_baud(&policy->baud, value, err);
}

static int key_contact(struct policy *policy, const char *value, struct error *err)
{
	static const char *const words[] = {
		[CONTACT_AUTO] = "auto", [CONTACT_MANUAL] = "manual", [CONTACT_NEVER] = "never"};
	int r = take_word(value, words, ARRAY_SIZE(words), "auto, manual, never", err);

	if (r < 0)
		return r;
	policy->contact = (enum policy_contact)r;
	return 0;
}

static int key_idle(struct policy *policy, const char *value, struct error *err)
{
	unsigned seconds = 0;

	if (strcmp(value, "never") != 0 &&
		take_number(value, 1, IDLE_MAX_S, &seconds, NULL) < 0)
		return error_set(err, -EINVAL,
			"'%s' is neither 'never' nor a number of seconds from 1 to %u", value,
			IDLE_MAX_S);
	policy->idle_ms = seconds * 1000;
	return 0;
}

static int key_ignore(struct policy *policy, const char *value, struct error *err)
{
	return take_yes_no(value, &policy->ignore, err);
}

static int key_interface(struct policy *policy, const char *value, struct error *err)
{
	unsigned n;
	int r = take_number(value, 0, 255, &n, err);

	if (r == 0)
		policy->interface = (int)n;
	return r;
}

static int key_owner(struct policy *policy, const char *value, struct error *err)
{
	return config_take_owner(policy->owner, value, err);
}

static int key_quiet(struct policy *policy, const char *value, struct error *err)
{
	return take_number(value, 0, QUIET_MAX_MS, &policy->quiet_ms, err);
}

static int key_reset(struct policy *policy, const char *value, struct error *err)
{
	bool reset;
	int r = take_yes_no(value, &reset, err);

	if (r == 0)
		policy->no_reset = !reset;
	return r;
}

static int key_verify(struct policy *policy, const char *value, struct error *err)
{
	static const char *const words[] = {"written", "everything"};
	int r = take_word(value, words, ARRAY_SIZE(words), "written, everything", err);

	if (r < 0)
		return r;
	policy->verify_everything = r == 1;
	return 0;
}

static const struct config_key keys[] = {
	{.name = "alias", .take = key_alias},
	{.name = "align", .take = key_align, .repeats = true},
	{.name = "baud", .take = key_baud},
	{.name = "contact", .take = key_contact},
	{.name = "idle", .take = key_idle},
	{.name = "ignore", .take = key_ignore},
	{.name = "interface", .take = key_interface},
	{.name = "owner", .take = key_owner},
	{.name = "quiet", .take = key_quiet},
	{.name = "reset", .take = key_reset},
	{.name = "verify", .take = key_verify},
};

const struct config_key *config_key_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (!strcmp(name, keys[i].name))
			return &keys[i];
	return NULL;
}
